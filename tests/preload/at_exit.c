/* Stops a program so that a test can read its memory: when it ends in order, after main and the
 * handlers of its own, and whenever SIGUSR2 asks for it. The kernel shows the memory of a program
 * that has switched dumps off to the administrator only, so that is undone first.
 *
 *   TALLY_TEST_STOP_AT_EXIT  stop at the end, too
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void stop(int signal)
{
    (void)signal;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    raise(SIGSTOP);
}

__attribute__((constructor)) static void listen_for_signal(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = stop;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, NULL);
}

__attribute__((destructor)) static void at_exit(void)
{
    if (getenv("TALLY_TEST_STOP_AT_EXIT") != NULL)
        stop(0);
}

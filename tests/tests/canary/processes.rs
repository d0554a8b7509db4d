//! What others on the machine can see of a process: dumps, its memory, its arguments, swap.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt, process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::signal::Signal,
    unistd::{Gid, Pid, Uid, chown},
};
use tallystick_tests::{
    canary::{files, found, nothing},
    outside::absent,
    place::{Place, Serving},
    programs::program,
    running::Running,
};

use crate::stage::{Stage, WORDS};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

/// A node that waits.
fn waiting(stage: &Stage) -> Serving {
    stage.place.serve("holder")
}

#[test]
fn a_program_that_is_killed_dumps_no_core() {
    let stage = Stage::published();
    // A shell lifts the limit that this test may have been given.
    let shell = |line: &str| {
        let mut command = stage.place.command(&format!("tallyd {line}"));
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        let program = command.get_program().to_str().unwrap().to_owned();
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(
                "ulimit -c unlimited && exec {program} {}",
                words.join(" ")
            ))
            .envs(environment)
            .current_dir(stage.place.path(""));
        command
    };
    let mut control = Command::new("sh");
    control
        .args(["-c", "ulimit -c unlimited && kill -ABRT $$"])
        .current_dir(stage.place.path("temporary"));
    if !control.status().unwrap().core_dumped() {
        absent("a system that dumps cores");
        return;
    }
    for core in files(&stage.place.path("temporary")) {
        fs::remove_file(core).unwrap();
    }
    let mut serving = shell("serve --home holder")
        .stdout(Stdio::null())
        .stderr(fs::File::create(stage.place.path("log")).unwrap())
        .spawn()
        .unwrap();
    tallystick_tests::running::wait_for("the node", || {
        stage
            .place
            .read("log")
            .contains("\"listening\"")
            .then_some(())
    });
    nix::sys::signal::kill(
        Pid::from_raw(serving.id().try_into().unwrap()),
        Signal::SIGABRT,
    )
    .unwrap();
    let status = serving.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    assert!(!status.core_dumped());
    let core = |path: &Path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("core")
    };
    assert!(!files(&stage.place.path("")).iter().any(|path| core(path)));
}

#[test]
fn another_process_of_the_same_user_cannot_read_memory() {
    let stage = Stage::published();
    let root = Uid::effective().is_root();
    let user = if root {
        NOBODY
    } else {
        Uid::effective().as_raw()
    };
    let group = if root {
        NOBODY
    } else {
        Gid::effective().as_raw()
    };
    let tallyd = stage.place.path("tallyd");
    fs::copy(program("tallyd"), &tallyd).unwrap();
    if root {
        // Its own home, and programs that it can reach.
        let mut all = vec![stage.place.path(""), stage.place.path("words")];
        all.extend(folders_and_files(&stage.home("holder")));
        for path in all {
            chown(&path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).unwrap();
        }
    }
    fs::set_permissions(&tallyd, fs::Permissions::from_mode(0o755)).unwrap();
    let as_user = |mut command: Command| {
        if root {
            command.uid(user).gid(group);
        }
        command
    };
    let mut serve = Command::new(&tallyd);
    serve.args(["serve", "--home"]).arg(stage.home("holder"));
    serve.env("TALLY_PASSPHRASE_FILE", stage.place.path("words"));
    let serving = stage.place.serve_by(as_user(serve), "holder");
    let mut sleep = as_user({
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    })
    .spawn()
    .unwrap();
    let reads = |id: u32, what: &str| {
        let mut head = Command::new("head");
        head.args(["-c", "1"]).arg(format!("/proc/{id}/{what}"));
        as_user(head)
            .stderr(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    };
    let node = u32::try_from(serving.id().as_raw()).unwrap();
    let control = reads(sleep.id(), "environ");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    if !control {
        absent("a system whose users may read their own processes");
        return;
    }
    for what in ["environ", "maps", "mem", "auxv"] {
        assert!(!reads(node, what), "{what}");
    }
    // Nor is anything locked for a user who may not; the node says so and works.
    if root {
        let log = serving.log();
        assert_eq!(
            log.matches("memory of this program is not locked").count(),
            1,
            "{log}"
        );
        assert_eq!(locked_kib(serving.id()), 0);
    }
}

#[test]
fn memory_that_holds_keys_stays_out_of_swap_where_that_is_allowed() {
    let stage = Stage::published();
    let serving = waiting(&stage);
    let log = serving.log();
    if log.contains("memory of this program is not locked") {
        absent("the right to lock memory");
        return;
    }
    assert!(locked_kib(serving.id()) > 1000);
    // Heap and stacks: every private mapping that can be written.
    let maps = fs::read_to_string(format!("/proc/{}/smaps", serving.id())).unwrap();
    let mut writable = None;
    let (mut locked, mut open) = (0, Vec::new());
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [range, rights, ..] if range.contains('-') && rights.len() == 4 => {
                writable = (rights == "rw-p").then(|| line.to_owned());
            }
            ["VmFlags:", ref flags @ ..] if writable.is_some() => {
                if flags.contains(&"lo") {
                    locked += 1;
                } else {
                    open.extend(writable.take());
                }
            }
            _ => {}
        }
    }
    assert!(
        locked > 5 && open.is_empty(),
        "{locked} locked, not: {open:#?}"
    );

    stage.configure("holder", "lock_memory = \"try\"", "lock_memory = \"off\"");
    let serving = waiting(&stage);
    assert_eq!(locked_kib(serving.id()), 0);
    assert!(
        !serving
            .log()
            .contains("memory of this program is not locked")
    );
}

#[test]
fn where_memory_must_be_locked_and_may_not_nothing_starts() {
    let stage = Stage::published();
    if !Uid::effective().is_root() {
        absent("an administrator, whose rights can be taken away");
        return;
    }
    stage.configure(
        "holder",
        "lock_memory = \"try\"",
        "lock_memory = \"require\"",
    );
    let line = "tallyd check --home holder --json";
    assert_eq!(Running::start(&stage.place, line).end().code, 0);
    let may_not = |place: &Place| {
        let whole = place.command(line);
        let mut command = Command::new("setpriv");
        command
            .args([
                "--bounding-set",
                "-ipc_lock",
                "--inh-caps",
                "-ipc_lock",
                "prlimit",
                "--memlock=65536:65536",
            ])
            .arg(whole.get_program())
            .args(whole.get_args())
            .current_dir(place.path(""));
        for (name, value) in whole.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    };
    let ended = Running::of(may_not(&stage.place), line).end();
    assert_eq!(ended.code, 2, "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("LimitMEMLOCK=infinity"), "{}", ended.out);
    // It degrades where it may: the same without the demand.
    stage.configure(
        "holder",
        "lock_memory = \"require\"",
        "lock_memory = \"try\"",
    );
    let ended = Running::of(may_not(&stage.place), line).end();
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    assert!(ended.out.contains("LimitMEMLOCK=infinity"), "{}", ended.out);
}

#[test]
fn arguments_and_environment_of_a_process_show_no_passphrase() {
    let stage = Stage::published();
    let serving = waiting(&stage);
    let canaries = stage.canaries();
    let process = format!("/proc/{}", serving.id());
    for what in ["cmdline", "environ", "comm", "status"] {
        let path = format!("{process}/{what}");
        if let Ok(bytes) = fs::read(&path) {
            nothing(&canaries.in_bytes(&path, &bytes));
        }
    }
    // The control.
    let mut command = stage.place.command("tallyd serve --home holder");
    command
        .env_remove("TALLY_PASSPHRASE_FILE")
        .env("TALLY_PASSPHRASE", WORDS);
    let serving = stage.place.serve_by(command, "holder");
    match fs::read(format!("/proc/{}/environ", serving.id())) {
        Ok(bytes) => found(&canaries.in_bytes("environ", &bytes), &["the passphrase"]),
        Err(_) => absent("a view of the environment of an own process"),
    }
}

/// VmLck of a process, in KiB.
fn locked_kib(id: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn folders_and_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(folders_and_files(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// A child begins with the signals blocked that are blocked in the thread that made it: the other side of
/// `try`, for example.
#[test]
fn a_program_begun_with_signals_blocked_takes_them_all_the_same() {
    let begun = std::thread::spawn(|| {
        let stage = Stage::published();
        let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        let ends: nix::sys::signal::SigSet = ends.into_iter().collect();
        ends.thread_block().unwrap();
        waiting(&stage).stop()
    });
    let ended = begun.join().unwrap();
    assert_eq!(ended, Some(0));
}

/// The system writes the registers of the thread that gets a signal to its stack: half a key, where
/// nobody wipes it.
#[test]
fn signals_that_end_a_program_come_to_a_thread_without_secrets() {
    let stage = Stage::published();
    let serving = waiting(&stage);
    let tasks = fs::read_dir(format!("/proc/{}/task", serving.id())).unwrap();
    let mut threads = Vec::new();
    for task in tasks {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| -> String {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
        let takes = |signal: Signal| blocked >> (signal as i32 - 1) & 1 == 0;
        let any = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(takes);
        threads.push((field("Name:"), any.contains(&true)));
    }
    assert!(threads.len() > 3, "{threads:?}");
    let takers: Vec<_> = threads.iter().filter(|(_, takes)| *takes).collect();
    assert_eq!(takers, [&("signals".to_owned(), true)], "{threads:?}");
}

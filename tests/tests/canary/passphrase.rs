//! Where the passphrase may come from, and what a home is without it.

use std::{fs, process::Command};

use tallystick_tests::{
    canary::{files, found, nothing},
    outside::absent,
    place::Place,
};

use crate::stage::{Stage, WORDS};

const CHECK: &str = "tallyd check --home holder --json";

/// The command without any passphrase in its environment.
fn bare(place: &Place, line: &str) -> Command {
    let mut command = place.command(line);
    command
        .env_remove("TALLY_PASSPHRASE_FILE")
        .env_remove("TALLY_PASSPHRASE");
    command
}

/// Exit code, and all that is said.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_home_opens_with_words_from_a_file_a_flag_or_the_environment_and_with_no_others() {
    let stage = Stage::new();
    let place = &stage.place;
    let words = place.path("words");
    let other = place.write("other", "other words than Qz7XwK4vJt9R\n");
    let flag = |file: &str| bare(place, &format!("{CHECK} --passphrase-file {file}"));
    let with = |name: &str, value: &std::ffi::OsStr| {
        let mut command = bare(place, CHECK);
        command.env(name, value);
        command
    };
    let file = "TALLY_PASSPHRASE_FILE";
    for mut good in [
        flag("words"),
        with(file, words.as_os_str()),
        with("TALLY_PASSPHRASE", WORDS.as_ref()),
    ] {
        assert_eq!(ended(&mut good).0, Some(0), "{good:?}");
    }
    let canaries = stage.canaries();
    for mut bad in [
        flag("other"),
        with(file, other.as_os_str()),
        with("TALLY_PASSPHRASE", "other words than Qz7XwK4vJt9R".as_ref()),
    ] {
        let (code, said) = ended(&mut bad);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("wrong passphrase"), "{said}");
        nothing(&canaries.in_bytes("what is said", said.as_bytes()));
    }
    let (code, said) = ended(&mut bare(place, CHECK));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no passphrase"), "{said}");
    assert!(said.contains("give --passphrase-file"), "{said}");
}

/// Runs a command at a terminal of its own, and types the first argument when nothing typed is
/// shown any more; prints what the terminal shows.
const TYPIST: &str = "\
import os, pty, select, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown, typed = b'', False
until = time.time() + 60
while time.time() < until:
    if select.select([fd], [], [], 0.01)[0]:
        try:
            some = os.read(fd, 4096)
        except OSError:
            some = b''
        if not some:
            break
        shown += some
    if b'Passphrase of this home' in shown and not typed:
        if not termios.tcgetattr(fd)[3] & termios.ECHO:
            os.write(fd, sys.argv[1].encode() + b'\\n')
            typed = True
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status) if typed else 99)
";

#[test]
fn a_terminal_is_asked_and_shows_nothing_of_what_is_typed() {
    let stage = Stage::new();
    let typed = |words: &str| -> Option<(Option<i32>, String)> {
        let line = bare(&stage.place, CHECK);
        let mut typist = Command::new("python3");
        typist
            .args(["-c", TYPIST, words])
            .arg(line.get_program())
            .args(line.get_args())
            .current_dir(stage.place.path(""));
        for (name, value) in line.get_envs() {
            match value {
                Some(value) => typist.env(name, value),
                None => typist.env_remove(name),
            };
        }
        match typist.output() {
            Ok(output) => {
                let shown = [output.stdout, output.stderr].concat();
                Some((output.status.code(), String::from_utf8(shown).unwrap()))
            }
            Err(_) => {
                absent("python3");
                None
            }
        }
    };
    let canaries = stage.canaries();
    let Some((code, shown)) = typed(WORDS) else {
        return;
    };
    assert_eq!(code, Some(0), "{shown}");
    nothing(&canaries.in_bytes("the terminal", shown.as_bytes()));
    let (code, shown) = typed("other words than Qz7XwK4vJt9R").unwrap();
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("wrong passphrase"), "{shown}");
    nothing(&canaries.in_bytes("the terminal", shown.as_bytes()));
}

#[test]
fn key_files_hold_no_key_and_a_flipped_byte_is_refused() {
    let stage = Stage::published();
    let canaries = stage.canaries();
    let keys = stage.home("holder").join("keys");
    nothing(&canaries.in_folder(&keys));
    // The control: one key, as it would lie there unsealed.
    let key = stage.place.home("holder").signing_key().unwrap();
    found(
        &canaries.in_bytes("a bare key", &key.to_bytes()),
        &["key signing of holder"],
    );
    for path in files(&keys) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let good = fs::read(&path).unwrap();
        let mut changed = good.clone();
        match name.strip_suffix(".sealed") {
            // One bit of the sealed master key, in the last digit before its end.
            None => {
                let text = String::from_utf8(good.clone()).unwrap();
                let at = text.find("\"sealed\": \"").unwrap() + 20;
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                fs::write(&path, &changed).unwrap();
                let said = stage.run(CHECK).out;
                assert!(said.contains("wrong passphrase"), "{said}");
            }
            Some(secret) => {
                let last = changed.len() - 1;
                for at in [0, 1, 13, last] {
                    changed[at] ^= 1;
                    fs::write(&path, &changed).unwrap();
                    let error = stage
                        .place
                        .home("holder")
                        .keys()
                        .open_secret(secret)
                        .unwrap_err();
                    assert_eq!(error.code(), "seal-broken", "{name}, byte {at}");
                    changed[at] ^= 1;
                }
            }
        }
        fs::write(&path, &good).unwrap();
    }
    stage.does(CHECK);
}

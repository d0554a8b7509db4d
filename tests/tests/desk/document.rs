//! The commands of the desk's document, run as they stand.

use tallystick_tests::{
    document::{Machines, Step, document, steps},
    outside,
};

#[test]
fn the_commands_about_the_desk_work_as_they_are_written() {
    if std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_err()
    {
        outside::absent("curl");
        return;
    }
    let mut machines = Machines::new();
    let mut said = String::new();
    for step in steps(&document("docs/desk.md")) {
        match &step {
            // What measures is another test, or takes a machine of its own.
            Step::Block(words, block) if words == &["repeat"] => {
                assert!(
                    block.contains("cargo ") || block.contains("tally "),
                    "{block}"
                );
            }
            _ => said += &machines.step(&step),
        }
    }
    for expected in [
        "Issued to this holder",
        "\treported\t",
        "\tnever-issued\t",
        "\tunreadable\t",
        "Issued to somebody else",
        "\"conclusion\":\"reported\"",
        "tally_conclusion,tally_reasons,tally_missing",
        "\"verified\"",
        "No answer from",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

//! The rules of the house that a program can check: what is depended on, who imports whom, what
//! stands where.

#![allow(clippy::unwrap_used)]

#[path = "structure/dependencies.rs"]
mod dependencies;
#[path = "structure/sources.rs"]
mod sources;

use std::process::Command;

use serde_json::Value;
use tallystick_tests::programs::workspace;

/// What cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--locked")
        .current_dir(workspace())
        .output();
    let output = output.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

/// The members of the workspace, as `cargo metadata` has them.
fn members() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let members = metadata["packages"].as_array().unwrap().clone();
    assert!(members.len() >= 7);
    members
}

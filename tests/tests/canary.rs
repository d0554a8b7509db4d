//! Nothing in the clear. Unmistakable identifiers, labels, words and keys are planted, and looked
//! for in every place where they could come out, in every form in which they might. Each search is
//! shown to find: what it must not find in one place, it finds in another.

#![allow(clippy::unwrap_used)]

#[path = "canary/memory.rs"]
mod memory;
#[path = "canary/passphrase.rs"]
mod passphrase;
#[path = "canary/places.rs"]
mod places;
#[path = "canary/processes.rs"]
mod processes;
#[path = "canary/secrets.rs"]
mod secrets;
#[path = "canary/stage.rs"]
mod stage;

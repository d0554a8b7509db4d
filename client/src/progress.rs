//! Progress of long work, on stderr, and only where somebody watches.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One stage's progress.
#[derive(Debug, Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` units called `unit` (`bytes` are shown as such); 0 for an unknown total.
    #[must_use]
    pub fn new(stage: &'static str, total: u64, unit: &str, quiet: bool) -> Self {
        let template = match (total, unit) {
            (0, "bytes") => "{msg:>12} {spinner} {bytes}".to_owned(),
            (0, unit) => format!("{{msg:>12}} {{spinner}} {{pos}} {unit}"),
            (_, "bytes") => "{msg:>12} [{bar:30}] {bytes}/{total_bytes} {eta}".to_owned(),
            (_, unit) => format!("{{msg:>12}} [{{bar:30}}] {{pos}}/{{len}} {unit} {{eta}}"),
        };
        let bar = match total {
            0 => ProgressBar::new_spinner(),
            total => ProgressBar::new(total),
        };
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(stage);
        Self(bar)
    }

    /// Where it stands.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

//! Verdicts and shifts as they are printed.

use tallystick_agency::report::moment;
use zeroize::Zeroizing;

use crate::desk::{Missing, ShiftReport, Verdict};

/// One line of many: the number of the document's first line, the conclusion, why, what is missing;
/// with tabs between them.
pub(super) fn short(line: u64, verdict: &Verdict) -> Zeroizing<String> {
    let reasons: Vec<&str> = verdict
        .reasons
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    let lacking: Vec<String> = verdict.missing.iter().map(missing).collect();
    let reasons = Zeroizing::new(reasons.join(" "));
    // One line stays one line, whatever a label holds.
    let plain = |text: &str| text.replace(|c: char| c.is_control(), " ");
    Zeroizing::new(format!(
        "{line}\t{}\t{}\t{}",
        verdict.conclusion,
        plain(&reasons),
        plain(&lacking.join(" "))
    ))
}

/// The same as an object: that of one document, and the number of its first line behind it.
pub(super) fn json(line: u64, verdict: &Verdict) -> Zeroizing<String> {
    #[derive(serde::Serialize)]
    struct Numbered<'a> {
        #[serde(flatten)]
        verdict: &'a Verdict,
        line: u64,
    }
    // Texts and finite numbers always have a form.
    Zeroizing::new(serde_json::to_string(&Numbered { verdict, line }).unwrap_or_default())
}

fn missing(one: &Missing) -> String {
    let since = one.since_ms.and_then(|ms| i64::try_from(ms).ok());
    let since = since.map_or(String::new(), |ms| format!(" (since {})", moment(ms)));
    format!("{}{since}", one.why)
}

/// What a shift did, for the end of a run.
pub(super) fn shift(report: &ShiftReport) -> String {
    let mut lines = Vec::new();
    for list in &report.collections {
        let (peer, collection) = (&list.peer, &list.collection);
        let (asked, answered) = (list.asked, list.answered);
        lines.push(format!(
            "{peer}/{collection}: {asked} asked, {answered} answered"
        ));
        if list.missing > 0 {
            lines.push(format!("  {} answers are missing", list.missing));
        }
        for session in &list.sessions {
            let charged = session.charged.iter();
            let charged: Vec<String> = charged
                .map(|c| {
                    format!(
                        "{} {} (budget left: {})",
                        c.elements, c.type_name, c.quota_after
                    )
                })
                .collect();
            if !charged.is_empty() {
                lines.push(format!("  charged {}", charged.join("; ")));
            }
            if let Some(record) = &session.record {
                lines.push(format!("  record {}", record.display()));
            }
            if let Some(trouble) = &session.trouble {
                lines.push(format!("  {}", trouble.why));
            }
        }
        if let Some(trouble) = &list.trouble {
            lines.push(format!("  {}", trouble.why));
        }
    }
    lines.join("\n")
}

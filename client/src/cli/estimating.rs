//! `tally estimate`: what asking a table would cost, and bring. Needs no home and asks nobody.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tallystick_agency::{
    exit::{Exit, Outcome},
    report::Report,
};

use tallystick_tables::Rejects;

use super::{
    Context, PROGRAM, facts, list,
    tables::{KeyArgs, left_out},
};
use crate::{
    estimate::{Estimate, RuleEstimate, SMALL_SPACE_BITS, estimate},
    input::Plan,
    progress::Progress,
};

/// The sizes that estimates are compared by: a watchlist against a register.
const COMPARED: (f64, f64) = (1e4, 1e6);
/// Fewer rows than this have too few pairs to see chance at work.
const FEW: u64 = 1000;
/// More false hits than this for each own row drown the true ones.
const MANY: f64 = 0.01;

/// What to estimate.
#[derive(Debug, Args)]
pub(crate) struct EstimateArgs {
    /// The table: CSV, TSV or JSON lines, also packed (.gz, .zst); - is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Records of the collection that would be asked
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    against: u64,
}

#[derive(Serialize)]
struct Estimated {
    profile: String,
    rows: u64,
    keys: u64,
    elements: u64,
    elements_per_row: f64,
    distinct: u64,
    padded: u64,
    empty: u64,
    rejected: u64,
    cut: u64,
    sampled_rows: u64,
    against: u64,
    rules: Vec<RuleReport>,
    /// Between the widest rule alone and all rules together.
    false_hits_least: f64,
    false_hits: f64,
    false_hits_10k_by_1m: f64,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RuleReport {
    #[serde(rename = "type")]
    ty: &'static str,
    rule: &'static str,
    elements_per_row: f64,
    collision_entropy_bits: f64,
    /// Whether the entropy is at least that, and the false hits at most those.
    bound: bool,
    false_hits: f64,
    false_hits_10k_by_1m: f64,
}

impl Report for Estimated {
    const COMMAND: &'static str = "estimate";

    fn text(&self) -> String {
        let mut text = facts([
            ("profile", self.profile.clone()),
            ("rows", self.rows.to_string()),
            (
                "elements",
                format!(
                    "{} ({:.1} a row), {} of them distinct",
                    self.elements, self.elements_per_row, self.distinct
                ),
            ),
            ("charged", format!("{} with padding", self.padded)),
            ("left out", left_out(self.empty, self.rejected, self.cut)),
        ]);
        text.push_str("\n\n");
        let header = [
            "type",
            "rule",
            "elements a row",
            "bits",
            "false hits",
            "10^4 x 10^6",
        ];
        let rows = self.rules.iter().map(|rule| {
            let (least, most) = if rule.bound { (">= ", "<= ") } else { ("", "") };
            vec![
                rule.ty.to_owned(),
                rule.rule.to_owned(),
                format!("{:.2}", rule.elements_per_row),
                format!("{least}{:.1}", rule.collision_entropy_bits),
                shown_at_most(most, rule.false_hits),
                shown_at_most(most, rule.false_hits_10k_by_1m),
            ]
        });
        text.push_str(&list(&header, rows));
        text.push_str(&format!(
            "\n\nfalse hits to expect against {} records: {} to {}",
            self.against,
            shown(self.false_hits_least),
            shown(self.false_hits)
        ));
        for warning in &self.warnings {
            text.push_str(&format!("\nwarning: {warning}"));
        }
        text
    }
}

fn shown_at_most(most: &str, n: f64) -> String {
    match n {
        0.0 => "none by chance".to_owned(),
        n => format!("{most}{}", shown(n)),
    }
}

/// Two places that count.
fn shown(n: f64) -> String {
    match n {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 1.0 => format!("{n:.1}"),
        n if n >= 0.01 => format!("{n:.2}"),
        0.0 => "0".to_owned(),
        n => format!("{n:.0e}"),
    }
}

fn warnings(found: &Estimate, ours: f64, theirs: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if found.sampled < FEW {
        warnings.push(format!(
            "{} rows are too few to tell: the figures are bounds, and the true ones may be far lower",
            found.sampled
        ));
    }
    let (least, total) = found.false_hits(ours, theirs);
    if found.sampled >= FEW && least > MANY * ours {
        let worst = |rule: &&RuleEstimate| rule.false_hits(ours, theirs);
        let worst = found
            .rules
            .iter()
            .max_by(|a, b| worst(a).total_cmp(&worst(b)));
        let rule = worst.map_or("", |rule| rule.rule.name());
        warnings.push(format!(
            "{} to {} false hits for {ours} rows, most of them by {rule}: a narrower profile, or a \
             person who checks each, is needed",
            shown(least),
            shown(total),
        ));
    }
    for rule in &found.rules {
        if let Some(bits) = rule.space_bits.filter(|bits| *bits < SMALL_SPACE_BITS) {
            warnings.push(format!(
                "values of type {} are about 2^{bits:.0} numbers: whoever may ask often enough can go \
                 through all of them; keep budgets below that, and do not offer the type in bulk",
                rule.ty
            ));
        }
    }
    warnings
}

pub(crate) fn run(context: &Context, args: &EstimateArgs) -> Outcome<Exit> {
    let (input, mapping) = args.keys.input(args.input.clone(), context.quiet)?;
    let bar = || Progress::new("reading", input.size().unwrap_or(0), "bytes", context.quiet);
    let scratch = std::env::temp_dir();
    let plan = Plan::make(&input, &mapping, &Rejects::default(), &scratch, &bar())?;
    let found = estimate(&plan, &bar())?;
    let (ours, theirs) = (found.tally.rows as f64, args.against as f64);
    let rules = found.rules.iter().map(|rule| RuleReport {
        ty: rule.ty.name(),
        rule: rule.rule.name(),
        elements_per_row: rule.keys as f64 / found.sampled.max(1) as f64,
        collision_entropy_bits: rule.bits(),
        bound: rule.at_most,
        false_hits: rule.false_hits(ours, theirs),
        false_hits_10k_by_1m: rule.false_hits(COMPARED.0, COMPARED.1),
    });
    let estimated = Estimated {
        profile: mapping.profile().id().to_owned(),
        rows: found.tally.rows,
        keys: found.tally.keys,
        elements: found.tally.elements,
        elements_per_row: found.tally.elements as f64 / found.tally.rows.max(1) as f64,
        distinct: found.distinct.values().sum(),
        padded: found.padded,
        empty: found.tally.empty,
        rejected: found.tally.rejected_total(),
        cut: found.tally.cut,
        sampled_rows: found.sampled,
        against: args.against,
        rules: rules.collect(),
        false_hits_least: found.false_hits(ours, theirs).0,
        false_hits: found.false_hits(ours, theirs).1,
        false_hits_10k_by_1m: found.false_hits(COMPARED.0, COMPARED.1).1,
        warnings: warnings(&found, ours, theirs),
    };
    context.print(PROGRAM, &estimated)?;
    Ok(Exit::Done)
}

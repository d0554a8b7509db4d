//! What the asking process does and times.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    command::runtime,
    exit::{Exit, Failure, Outcome},
    home::Home,
    process,
};
use tallystick_protocol::{identifiers::mrz::Date, statements::Name};

use super::{
    Asked, Asking, Times,
    parts::{COLLECTION, MOST, Told},
};
use crate::{
    datagen::desk::Zones,
    desk::{Ask, Conclusion, Desk, DeskOptions, Presented, Verdict, judge},
    error::bug,
    run::Grounds,
    try_out,
};

/// Travellers who wait at once, where many do.
const AT_ONCE: [u64; 4] = [8, 64, 512, 2048];
/// The same where each has a record.
const AT_ONCE_RECORDED: [u64; 2] = [1, 16];
/// Travellers of a manifest.
const FLIGHT: usize = 400;
/// Of so many travellers one has a document that was never issued.
const SOME: u64 = 10;

/// What to ask.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct AskPlan {
    /// Seed of the documents.
    pub seed: u64,
    /// Documents of the register.
    pub documents: u64,
    /// The first of them.
    pub first: u64,
    /// Seconds of each measurement.
    pub seconds: u32,
    /// Only say how long it takes to be ready.
    pub only_open: bool,
}

/// The process that asks. `plan` is what the process that started this one told it.
///
/// # Errors
/// A failure of home, peer or plan.
pub fn ask(home: Home, plan: &str) -> Outcome<()> {
    let told: Told = serde_json::from_str(plan).map_err(|e| bug(e.to_string()))?;
    let home = Arc::new(home);
    runtime()?.block_on(async {
        let at = Instant::now();
        let desk = open(&home, &told, false).await?;
        let first_seconds = at.elapsed().as_secs_f64();
        if told.plan.only_open {
            desk.close().await?;
            try_out::say(&first_seconds)?;
            return try_out::say_spent();
        }
        desk.close().await?;
        try_out::say(&measure(&home, &told, first_seconds).await?)?;
        try_out::say_spent()
    })
}

/// A desk that is ready.
async fn open(home: &Arc<Home>, told: &Told, record_each: bool) -> Outcome<Desk> {
    let collection: Name = COLLECTION.parse().map_err(|_| bug("a collection's name"))?;
    let options = DeskOptions {
        asks: vec![Ask {
            peer: told.peer.clone(),
            collection,
            address: Some(told.address.to_string()),
        }],
        grounds: Grounds {
            purpose: "measurement on this machine".parse().ok(),
            ..Grounds::default()
        },
        hours: 1,
        // As many as the types of the register have room for.
        flights: MOST / 8,
        patience: Duration::from_secs(30),
        record_each,
        ..DeskOptions::default()
    };
    let desk = Desk::open(Arc::clone(home), options).await?;
    loop {
        let status = desk.status();
        if status.ready {
            return Ok(desk);
        }
        let lists = status.collections.iter();
        if let Some(trouble) = lists.filter_map(|list| list.trouble.as_ref()).next() {
            let (code, why) = (trouble.code.clone(), trouble.why.clone());
            return Err(Failure::new(Exit::Network, &code, why, ""));
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Travellers, each with another document.
struct Travellers {
    zones: Zones,
    plan: AskPlan,
    /// The day on which they come.
    today: Date,
    next: AtomicU64,
}

impl Travellers {
    fn new(plan: AskPlan) -> Outcome<Self> {
        Ok(Self {
            zones: Zones::new(plan.seed),
            plan,
            today: Date::new(2026, 6, 1).ok_or_else(|| bug("a day of the calendar"))?,
            next: AtomicU64::new(0),
        })
    }

    /// The next one, and whether the register has the document.
    fn next(&self) -> Outcome<(Presented, bool)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let issued = !(number + 1).is_multiple_of(SOME);
        let AskPlan {
            first, documents, ..
        } = self.plan;
        let index = match issued {
            true => first + number % documents,
            // Neither issued now nor after any change.
            false => first + 100 * documents + number,
        };
        let zone = self.zones.get(index);
        let presented = Presented::from_mrz(&zone).map_err(|e| bug(e.to_string()))?;
        Ok((presented, issued))
    }
}

/// Whether an answer is there; one that is wrong is an error.
fn told_right(verdict: &Verdict, issued: bool) -> Outcome<bool> {
    match (verdict.conclusion, issued) {
        (Conclusion::Incomplete, _) => Ok(false),
        (Conclusion::Consistent, true) | (Conclusion::NeverIssued, false) => Ok(true),
        (conclusion, _) => Err(bug(format!("a verdict is wrong: {conclusion}"))),
    }
}

/// Processor time of both sides.
struct Spent {
    at: Instant,
    ours: f64,
    theirs: Option<f64>,
    node: u32,
}

impl Spent {
    fn start(node: u32) -> Outcome<Self> {
        Ok(Self {
            at: Instant::now(),
            ours: process::usage()?.cpu_seconds,
            theirs: process::cpu_seconds_of(node),
            node,
        })
    }

    fn end(self, at_once: u64, times: Vec<f64>, missing: u64) -> Outcome<Asking> {
        let seconds = self.at.elapsed().as_secs_f64();
        let travellers = times.len() as u64;
        let each = 1e6 / travellers.max(1) as f64;
        let theirs = process::cpu_seconds_of(self.node);
        Ok(Asking {
            at_once,
            travellers,
            missing,
            seconds,
            per_second: travellers as f64 / seconds,
            milliseconds: Times::of(times).ok_or_else(|| bug("nobody was answered"))?,
            ours_cpu_us: (process::usage()?.cpu_seconds - self.ours) * each,
            theirs_cpu_us: self
                .theirs
                .zip(theirs)
                .map(|(start, end)| (end - start) * each),
        })
    }
}

async fn measure(home: &Arc<Home>, told: &Told, first_seconds: f64) -> Outcome<Asked> {
    let at = Instant::now();
    let desk = open(home, told, false).await?;
    let again_seconds = at.elapsed().as_secs_f64();
    let travellers = Arc::new(Travellers::new(told.plan)?);
    // What is touched for the first time is not what the next hour is like.
    many(&desk, &travellers, told, 8, 1).await?;

    let one = many(&desk, &travellers, told, 1, told.plan.seconds).await?;
    let mut more = Vec::with_capacity(AT_ONCE.len());
    for at_once in AT_ONCE {
        more.push(many(&desk, &travellers, told, at_once, told.plan.seconds).await?);
    }
    let flight = flights(&desk, &travellers, told).await?;
    desk.close().await?;

    let desk = open(home, told, true).await?;
    let mut record_each = Vec::with_capacity(AT_ONCE_RECORDED.len());
    for at_once in AT_ONCE_RECORDED {
        record_each.push(many(&desk, &travellers, told, at_once, told.plan.seconds).await?);
    }
    desk.close().await?;
    Ok(Asked {
        first_seconds,
        again_seconds,
        one,
        many: more,
        flight,
        record_each,
    })
}

/// The verdict on one traveller.
async fn verdict(desk: &Desk, presented: &Presented, today: Date) -> Verdict {
    judge(presented, today, desk.answers(presented).await)
}

/// So many travellers at a time, each followed by the next as soon as it is answered.
async fn many(
    desk: &Desk,
    travellers: &Arc<Travellers>,
    told: &Told,
    at_once: u64,
    seconds: u32,
) -> Outcome<Asking> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let spent = Spent::start(told.node)?;
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (desk, travellers) = (desk.clone(), Arc::clone(travellers));
            tokio::spawn(async move {
                let (mut times, mut missing) = (Vec::with_capacity(1024), 0);
                while Instant::now() < until {
                    let (presented, issued) = travellers.next()?;
                    let at = Instant::now();
                    let verdict = verdict(&desk, &presented, travellers.today).await;
                    times.push(at.elapsed().as_secs_f64());
                    missing += u64::from(!told_right(&verdict, issued)?);
                }
                Outcome::Ok((times, missing))
            })
        })
        .collect();
    let (mut times, mut missing) = (Vec::new(), 0);
    for task in tasks {
        let (of_task, none) = task.await.map_err(|e| bug(e.to_string()))??;
        times.extend(of_task);
        missing += none;
    }
    spent.end(at_once, times, missing)
}

/// Manifests, one after the other.
async fn flights(desk: &Desk, travellers: &Travellers, told: &Told) -> Outcome<Asking> {
    let until = Instant::now() + Duration::from_secs(told.plan.seconds.into());
    let (mut times, mut missing) = (Vec::new(), 0);
    let spent = Spent::start(told.node)?;
    while Instant::now() < until {
        let (mut manifest, mut issued) = (Vec::with_capacity(FLIGHT), Vec::with_capacity(FLIGHT));
        for _ in 0..FLIGHT {
            let (presented, is_issued) = travellers.next()?;
            manifest.push(presented);
            issued.push(is_issued);
        }
        let at = Instant::now();
        let answers = desk.answers_all(&manifest).await;
        let both = manifest.iter().zip(answers);
        let verdicts: Vec<_> = both
            .map(|(one, told)| judge(one, travellers.today, told))
            .collect();
        times.push(at.elapsed().as_secs_f64());
        for (verdict, issued) in verdicts.iter().zip(issued) {
            missing += u64::from(!told_right(verdict, issued)?);
        }
    }
    spent.end(1, times, missing)
}

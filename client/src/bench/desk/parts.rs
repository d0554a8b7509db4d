//! The agencies' processes: this executable, with hidden subcommands.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tallystick_agency::{
    clock,
    collections::TableSource,
    command::runtime,
    exit::Outcome,
    home::Home,
    keys::PassphraseInputs,
    publish::{self, ListTerms, PublishOptions},
    store::Store,
};
use tallystick_protocol::{
    group,
    statements::{ListKind, Name},
};
use tallystick_tables::{Rejects, TableFormat};

use super::{AskPlan, Memory, Publishing};
use crate::{
    error::bug,
    try_out::{
        self,
        children::{Part, Spent, executable},
    },
};

/// The collection.
pub(super) const COLLECTION: &str = "register";
/// The node's name, and its folder.
const NODE: &str = "node";

/// The state that the register covers.
const COVERS: &str = "UTO";

/// The most elements of a type that one shift asks here, and so what one session may carry.
pub(super) const MOST: u64 = 1 << 23;

/// What a process publishes.
#[derive(Debug, Serialize, Deserialize)]
pub struct PublishPlan {
    /// The table.
    pub input: PathBuf,
    /// Its mapping.
    pub mapping: PathBuf,
}

/// The process that publishes: a register, for askers without a limit that matters here.
///
/// # Errors
/// A failure of home or table.
pub fn publish(home: Home, plan: PublishPlan) -> Outcome<()> {
    let at = Instant::now();
    let published = runtime()?.block_on(async {
        let store = home.store().await?;
        let name = |text: &str| text.parse::<Name>().map_err(|e| bug(e.to_string()));
        let covers = COVERS
            .parse()
            .map_err(|_| bug("the state of the register"))?;
        let options = PublishOptions {
            name: name(COLLECTION)?,
            source: TableSource {
                profile: None,
                input: plan.input,
                keys: Vec::new(),
                mapping: Some(plan.mapping),
                label: Vec::new(),
                format: TableFormat::default(),
            },
            rejects: Rejects::default(),
            allow: None,
            max_session_elements: Some(2 * MOST),
            peer_budget: Some(1 << 32),
            type_budgets: BTreeMap::from([(name("holder")?, 1 << 32)]),
            list: ListTerms {
                kind: Some(ListKind::IssuedDocuments),
                covers: Some(vec![covers]),
                complete_ms: None,
            },
            rotate: false,
            full: false,
        };
        let kernel = group::best();
        let now = clock::now_ms();
        let published = publish::publish(&home, &store, kernel, options, now, &|_, _, _| {});
        let published = published.await?;
        store.close().await;
        Outcome::Ok(published)
    })?;
    try_out::say(&Publishing {
        seconds: at.elapsed().as_secs_f64(),
        cpu_seconds: 0.0,
        tags: published.elements,
        bytes: published.bytes,
        delta_bytes: published.delta.map(|delta| delta.bytes),
        peak_rss_bytes: 0,
    })?;
    try_out::say_spent()
}

/// The folders of the agencies.
pub(super) struct Homes {
    dir: PathBuf,
    node: PathBuf,
}

impl Homes {
    /// Finds or makes the node's home in `dir`.
    pub(super) fn open(dir: &Path) -> Outcome<Self> {
        let node = dir.join(NODE);
        if !node.is_dir() {
            runtime()?.block_on(try_out::init(dir, NODE))?;
        }
        let dir = dir.to_owned();
        Ok(Self { dir, node })
    }

    /// A new agency that asks, known to the node: it has no snapshot yet.
    pub(super) fn asker(&self) -> Outcome<PathBuf> {
        let taken = |n: &u32| self.dir.join(format!("asker-{n}")).exists();
        let number = (1..).find(|n| !taken(n)).unwrap_or_default();
        let name = format!("asker-{number}");
        runtime()?.block_on(async {
            let asker = try_out::init(&self.dir, &name).await?;
            let node = Home::open(&self.node, &PassphraseInputs::default())?;
            try_out::add(&asker, &node).await?;
            try_out::add(&node, &asker).await
        })?;
        Ok(self.dir.join(name))
    }

    /// Publishes a table of so many documents.
    pub(super) fn publish(&self, table: &Path, documents: u64, quiet: bool) -> Outcome<Publishing> {
        let bar = crate::progress::Progress::new("publishing", documents, "documents", quiet);
        let plan = PublishPlan {
            input: table.to_owned(),
            mapping: table.with_extension("mapping.toml"),
        };
        let mut part = start("publish", &self.node, &plan, "publishing")?;
        let published: Publishing = part.line()?;
        let spent = part.stop()?;
        bar.finish();
        Ok(Publishing {
            cpu_seconds: spent.cpu_seconds,
            peak_rss_bytes: spent.peak_rss_bytes,
            ..published
        })
    }
}

/// A process of this executable, and what it is to do.
fn start<T: Serialize>(role: &str, home: &Path, plan: &T, side: &'static str) -> Outcome<Part> {
    let plan = serde_json::to_string(plan).map_err(|e| bug(e.to_string()))?;
    let mut command = executable()?;
    command.args(["bench-part", role, "--home"]).arg(home);
    command.args(["--plan", &plan]);
    Part::start(command, side)
}

/// The process that serves.
pub(super) struct Node {
    part: Part,
    address: SocketAddr,
}

impl Node {
    pub(super) fn start(homes: &Homes) -> Outcome<Self> {
        let mut part = start("serve", &homes.node, &(), "the node")?;
        let address = part.line()?;
        Ok(Self { part, address })
    }

    pub(super) fn stop(self) -> Outcome<Memory> {
        Ok(memory(&self.part.stop()?))
    }
}

fn memory(spent: &Spent) -> Memory {
    Memory {
        peak_rss_bytes: spent.peak_rss_bytes,
        peak_anonymous_bytes: spent.peak_anonymous_bytes,
    }
}

/// What the asking process is told besides its plan.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) plan: AskPlan,
    pub(super) peer: String,
    pub(super) address: SocketAddr,
    /// The node's process.
    pub(super) node: u32,
}

/// Runs the asking process to its end.
pub(super) fn asked<T: for<'de> Deserialize<'de>>(
    home: &Path,
    node: &Node,
    plan: &AskPlan,
) -> Outcome<(T, Memory)> {
    let told = Told {
        plan: *plan,
        peer: NODE.to_owned(),
        address: node.address,
        node: node.part.id(),
    };
    let mut part = start("ask", home, &told, "the asking side")?;
    let asked = part.line()?;
    Ok((asked, memory(&part.stop()?)))
}

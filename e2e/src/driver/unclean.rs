//! Unclean elections: a wish is laid into the record, a driver that sees who answers grants it or says why not, and what was
//! given up stays in the record for ever. Invariant: a shard's row, whom it bars and the end of the wish are one write.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use thalweg_node::core::failover::{Presence, Unclean, UncleanRefusal, unclean};
use thalweg_node::types::{RecordEpoch, ReplicaId, ShardId, VolumeIncarnation};
use tokio::time::{sleep, timeout};

use super::record::RecordFile;
use super::table::{GivenUp, Outcast, Table, Wish};

/// A driver has seen within two seconds who does not answer, and looks at the record twice a second.
const DRIVER_MAX: Duration = Duration::from_secs(20);
/// How soon whoever wishes looks again.
const AGAIN: Duration = Duration::from_millis(100);

/// What became of the wish that waits in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Granted {
    /// It was granted.
    Yes(GivenUp),
    /// It never will be.
    No(Wish, String),
}

/// Grants the wish that waits in the record, or refuses it; `None` when there is none, or when it is too early to say.
pub(super) fn grant(table: &mut Table, presence: impl Fn(ShardId, ReplicaId) -> Presence) -> Option<Granted> {
    let wish = table.wish.clone().filter(|wish| wish.refused.is_none())?;
    let refuse = |table: &mut Table, why: String| {
        table.wish = Some(Wish { refused: Some(why.clone()), ..wish.clone() });
        Some(Granted::No(wish.clone(), why))
    };
    let Some(row) = table.rows.get(&wish.shard) else {
        return refuse(table, format!("there is no shard {}", wish.shard));
    };
    let Some(chosen) = table.roster.find(wish.incarnation) else {
        return refuse(table, format!("volume {} is no member", wish.incarnation));
    };
    let there = |id| presence(wish.shard, id);
    match unclean(row, wish.epoch, chosen, |id| table.is_barred(id), there) {
        Err(UncleanRefusal::TooEarly(_)) => None,
        Err(why) => refuse(table, why.to_string()),
        Ok(Unclean { row, barred }) => {
            let outcasts = barred.iter().filter_map(|id| outcast(table, *id)).collect();
            let given_up = GivenUp { shard: wish.shard, epoch: row.epoch, chosen, barred: outcasts };
            // Nobody speaks with them any more, and nobody waits for them to know a start.
            table.roster.members.retain(|id, _| !barred.contains(id));
            table.rows.insert(wish.shard, row);
            table.learners.remove(&wish.shard);
            table.unclean.push(given_up.clone());
            table.wish = None;
            Some(Granted::Yes(given_up))
        }
    }
}

/// A member, or one that was one until it was given up for another shard.
fn outcast(table: &Table, id: ReplicaId) -> Option<Outcast> {
    let before =
        || table.unclean.iter().flat_map(|given_up| &given_up.barred).find(|it| it.id == id).cloned();
    let Some(member) = table.roster.members.get(&id) else { return before() };
    Some(Outcast { id, node: member.node.clone(), incarnation: member.incarnation? })
}

/// What a wish would cost, in words; fails if it can be seen in the record already that it will not be granted.
pub fn price(table: &Table, wish: &Wish) -> anyhow::Result<String> {
    let row = table.rows.get(&wish.shard).with_context(|| format!("there is no shard {}", wish.shard))?;
    ensure!(row.epoch == wish.epoch, "shard {} is in epoch {}, not {}", wish.shard, row.epoch, wish.epoch);
    let volume = wish.incarnation;
    ensure!(table.barred(volume).is_none(), "volume {volume} was given up before: it is barred for ever");
    let chosen = table.roster.find(volume).with_context(|| format!("volume {volume} is no member"))?;
    let everybody = row.configs.everybody();
    ensure!(everybody.contains(&chosen), "volume {volume} does not vote for shard {}", wish.shard);
    let mut text = format!("Shard {} goes on with what {} has ({volume}).\n", wish.shard, table.node(chosen));
    let certain = if chosen == row.last_leader {
        "It led last, so it has everything that was acknowledged."
    } else {
        "Everything that was acknowledged and that it does not have is LOST; nobody can say how much that is."
    };
    writeln!(
        text,
        "{certain}\nWhoever of these does not answer is barred for ever, with all it holds of every shard:"
    )?;
    for id in everybody.iter().filter(|id| **id != chosen) {
        let others = table
            .rows
            .iter()
            .filter(|(shard, row)| **shard != wish.shard && row.configs.everybody().contains(id));
        let others: Vec<String> = others.map(|(shard, _)| shard.to_string()).collect();
        let others = if others.is_empty() { "no other".to_owned() } else { others.join(", ") };
        writeln!(text, "  {} ({id}), which votes for these shards, too: {others}", table.node(*id))?;
    }
    text.push_str(
        "They MUST be off, and stay off until their disks are emptied: they are not fenced, and two of them that come back \
         go on among themselves and acknowledge writes that are nowhere else.",
    );
    Ok(text)
}

/// Lays a wish into the record, and waits for a driver to grant it.
pub async fn wish(
    record: &RecordFile,
    shard: ShardId,
    epoch: RecordEpoch,
    incarnation: VolumeIncarnation,
) -> anyhow::Result<GivenUp> {
    wish_within(DRIVER_MAX, record, shard, epoch, incarnation).await
}

pub(super) async fn wish_within(
    longest: Duration,
    record: &RecordFile,
    shard: ShardId,
    epoch: RecordEpoch,
    incarnation: VolumeIncarnation,
) -> anyhow::Result<GivenUp> {
    let wish = Wish { shard, epoch, incarnation, refused: None };
    let mut other = None;
    record.change(|table| {
        other = table.wish.clone().filter(|other| other.refused.is_none() && *other != wish);
        table.wish = Some(wish.clone());
        other.is_none()
    })?;
    if let Some(Wish { shard, epoch, .. }) = other {
        bail!("a wish for shard {shard} in epoch {epoch} waits already");
    }
    let answered = timeout(longest, async {
        loop {
            let (_, table) = record.read()?;
            match &table.wish {
                Some(Wish { refused: None, .. }) => sleep(AGAIN).await,
                _ => return anyhow::Ok(table),
            }
        }
    });
    let Ok(table) = answered.await else {
        let mut still = false;
        record.change(|table| {
            still = table.wish.take_if(|waits| *waits == wish).is_some();
            still
        })?;
        ensure!(
            !still,
            "no driver took it up within {longest:?}; the wish was taken back, and nothing has changed"
        );
        return granted(&record.read()?.1, &wish);
    };
    granted(&table?, &wish)
}

fn granted(table: &Table, wish: &Wish) -> anyhow::Result<GivenUp> {
    if let Some(Wish { refused: Some(why), .. }) = &table.wish {
        bail!("refused: {why}");
    }
    let is_it = |it: &&GivenUp| it.shard == wish.shard && it.epoch.0 == wish.epoch.0 + 1;
    table.unclean.iter().rev().find(is_it).cloned().context("somebody has taken the wish back")
}

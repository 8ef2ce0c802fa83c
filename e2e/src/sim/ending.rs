//! The end of a run: everything must have come to rest, and every history must make sense.

use super::client::Op;
use super::event::Shard;
use super::judge::judge;
use super::queue::SECOND;
use super::world::World;

impl World {
    /// Looks whether each shard is well, and judges its history.
    pub(super) fn finish(&mut self) {
        let written = self.record.writes();
        if let Some(before) = self.quiet.filter(|before| *before != written) {
            return self.violated(|| {
                format!("the record is written {} times after everything has come to rest", written - before)
            });
        }
        for shard in 0..self.ledgers.len() {
            if let Err(why) = self.is_well(shard) {
                return self.violated(|| format!("shard {shard}, long after the trouble: {why}"));
            }
            let ops = (0..).zip(&self.history).filter(|(_, op)| op.shard == shard);
            if let Err(why) = judge(ops, &self.ledgers[shard]) {
                return self.violated(|| format!("shard {shard}: {why}"));
            }
        }
    }

    /// A leader is open, all voters are as it is, and writes were taken after the trouble.
    fn is_well(&self, shard: Shard) -> Result<(), String> {
        let row = self.record.now(shard);
        let leader = row.leader().map_err(|_| "nobody is elected".to_owned())?;
        let home = &self.nodes[self.homes[leader.0 as usize]];
        let led = &home.locals[shard];
        let replica = led.replica.as_ref().filter(|replica| replica.takes_writes() && home.id == leader);
        let replica = replica.ok_or_else(|| format!("{leader} leads and takes no writes"))?;
        let end = replica.history().end();
        if self.ledgers[shard].end() != end {
            return Err(format!("{} of {end} entries are committed", self.ledgers[shard].end()));
        }
        for voter in row.configs.last().voters.iter() {
            let node = &self.nodes[self.homes[voter.0 as usize]];
            let there = &node.locals[shard];
            if node.id != voter || there.log.chain() != led.log.chain() {
                return Err(format!("{voter} has {} of {end} entries of {leader}", there.log.end()));
            }
            if node.disk.remembered.memories[shard].damaged {
                return Err(format!("{voter} is damaged still"));
            }
        }
        if row.configs.is_changing() {
            return Err("a change of the voters is never over".to_owned());
        }
        let since = self.peace.unwrap_or_default() + 60 * SECOND;
        let after = |op: &&super::client::Asked| op.shard == shard && op.is_write() && op.begun > since;
        let done = self.history.iter().rev().filter(after).any(|op| matches!(op.outcome, Op::Done(..)));
        if done { Ok(()) } else { Err("no write is taken".to_owned()) }
    }
}

//! Random walks: messages lost, doubled and late, crashes at any moment, elections at any moment, voters that change.
//! Whatever was committed stays so, and once the trouble ends somebody leads and all logs are the same.

use super::world::{World, id, voters};
use crate::core::replication::{
    Answer, Ask, Input, Phase, SealAnswer, Sealed, ShardRow, sees_every_commit, winners,
};
use crate::types::{ConfigVersion, RecordEpoch, ReplicaId};

/// Small, fast, the same everywhere (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// The record, and whoever works on it.
struct Operator {
    row: ShardRow,
    seals: Vec<(ReplicaId, SealAnswer)>,
    replicas: u32,
}

impl Operator {
    fn tell(&self, world: &mut World) {
        let Ok(leader) = self.row.leader() else { return };
        let (ask, epoch, configs) = (Ask(2), self.row.epoch, self.row.configs.clone());
        world.step(leader, Input::Configure { ask, epoch, configs, learners: Vec::new() });
    }

    fn seal_all(&mut self, world: &mut World) {
        if let Ok(row) = self.row.seal() {
            self.row = row;
            self.seals.clear();
        }
        for voter in self.row.configs.everybody() {
            world.seal(voter.0, self.row.epoch.0);
        }
    }

    fn hear(&mut self, world: &mut World) {
        for (from, answer) in std::mem::take(&mut world.answers) {
            if let Answer::Sealed(sealed) = answer
                && sealed.promised.record == self.row.epoch
            {
                self.seals.retain(|(id, _)| *id != from);
                self.seals.push((from, *sealed));
            }
        }
        for (epoch, version) in std::mem::take(&mut world.confirmed) {
            if let Ok(row) = self.row.confirm(epoch, ConfigVersion(version)) {
                self.row = row;
            }
        }
    }

    fn choose(&mut self, world: &mut World) {
        let from: Vec<_> = self.seals.iter().filter(|(_, answer)| answer.intact).collect();
        let sealed = |voter| from.iter().any(|(id, _)| *id == voter);
        if self.row.phase != Phase::Sealing
            || !sees_every_commit(&self.row.configs, Some(self.row.last_leader), sealed)
        {
            return;
        }
        let answers: Vec<Sealed> = from
            .iter()
            .map(|(replica, answer)| Sealed {
                replica: *replica,
                last: answer.standing.last,
                end: answer.standing.end,
            })
            .collect();
        let Some(winner) = winners(&self.row.configs, answers.iter()).next().map(|best| best.replica) else {
            return;
        };
        let Ok(row) = self.row.activate(winner) else { return };
        self.row = row;
        let standing = from.iter().find(|(id, _)| *id == winner).unwrap().1.standing;
        world.lead_as(winner.0, self.row.epoch.0, &self.row.configs, standing);
    }

    fn change(&mut self, world: &mut World, dice: &mut Dice) {
        let who = id(u32::try_from(dice.below(self.replicas as usize)).unwrap());
        let last = self.row.configs.last().voters;
        let next = if last.contains(who) { last.without(who) } else { last.with(who) };
        let retired = world.node(who.0).memory.retired;
        let row = match dice.below(4) {
            0 => self.row.withdraw(),
            _ => match next.filter(|next| next.count() >= 2 && !retired) {
                Some(next) => self.row.change(next),
                None => return,
            },
        };
        if let Ok(row) = row {
            self.row = row;
            self.tell(world);
        }
    }
}

/// Whether all that anybody confirmed is there.
fn is_whole(world: &World) -> bool {
    world.nodes.values().all(|node| !node.memory.damaged && node.replica.is_intact())
}

/// What a replica that is down finds damaged when it starts, one replica at a time.
fn damage(world: &mut World, number: u32, dice: &mut Dice) {
    if is_whole(world) {
        let left = dice.below(world.node(number).log.len() + 1);
        world.damage(number, left);
    }
}

fn happen(world: &mut World, operator: &mut Operator, dice: &mut Dice, damages: bool) {
    let number = u32::try_from(dice.below(operator.replicas as usize)).unwrap();
    let down = world.node(number).down;
    match dice.below(400) {
        0..=199 if !world.letters.is_empty() => {
            let place = dice.below(world.letters.len());
            match dice.below(20) {
                0 => drop(world.letters.remove(place)),
                1 => world.arrive(world.letters[place].clone()),
                _ => world.deliver(place),
            }
        }
        200..=259 if !down => world.sync(number),
        260..=299 if !down => world.save(number),
        300..=319 if !down => world.cut(number),
        320..=321 if !down => world.crash(number),
        322..=326 if down && damages => damage(world, number, dice),
        322..=331 if down => world.restart(number),
        322..=323 if damages && is_whole(world) => world.step(id(number), Input::GiveUp),
        332..=371 if !down && world.node(number).replica.takes_writes() => world.write(number, "w"),
        372 => operator.seal_all(world),
        373..=382 => operator.choose(world),
        383 => operator.change(world, dice),
        384..=387 => operator.tell(world),
        388..=392 if operator.row.phase == Phase::Sealing => operator.seal_all(world),
        _ if !down => {
            let other = id(u32::try_from(dice.below(operator.replicas as usize)).unwrap());
            world.step(id(number), Input::Connected(other));
        }
        _ => {}
    }
    operator.hear(world);
}

fn heal(world: &mut World, operator: &mut Operator) {
    for number in 0..operator.replicas {
        if world.node(number).down {
            world.restart(number);
        }
    }
    world.settle();
    operator.hear(world);
    operator.seal_all(world);
    world.settle();
    operator.hear(world);
    operator.choose(world);
    world.settle();
}

fn walk(seed: u64, replicas: u32, steps: usize, damages: bool) -> usize {
    let mut dice = Dice(seed);
    let mut world = World::new(replicas);
    let row = ShardRow::first(voters(&[0, 1, 2]), id(0));
    world.lead(0, 1, &row.configs);
    let mut operator = Operator { row, seals: Vec::new(), replicas };
    for _ in 0..steps {
        happen(&mut world, &mut operator, &mut dice, damages);
        assert!(world.nodes.values().all(|node| !node.halted), "seed {seed}: a replica halted");
    }
    heal(&mut world, &mut operator);
    let leader = operator.row.leader().unwrap_or_else(|_| panic!("seed {seed}: nobody was elected"));
    let log = &world.node(leader.0).log;
    assert!(world.node(leader.0).replica.takes_writes(), "seed {seed}: the leader does not open");
    assert_eq!(
        &log[..world.committed.len()],
        &world.committed[..],
        "seed {seed}: something committed is lost"
    );
    for voter in operator.row.configs.last().voters.iter() {
        assert_eq!(world.node(voter.0).log, *log, "seed {seed}: {voter} is not as its leader");
    }
    assert!(operator.row.epoch > RecordEpoch(1));
    world.committed.iter().filter(|entry| entry.payload == "w").count()
}

#[test]
fn whatever_is_lost_doubled_late_or_crashes_nothing_committed_is_lost() {
    let replicas = |seed: u64| 3 + u32::try_from(seed % 2).unwrap();
    let committed: usize = (0..300).map(|seed| walk(seed, replicas(seed), 2000, false)).sum();
    assert!(committed > 1000, "the walks did something: {committed} writes committed");
}

#[test]
fn whatever_is_damaged_and_repaired_one_after_the_other_nothing_committed_is_lost() {
    let replicas = |seed: u64| 3 + u32::try_from(seed % 2).unwrap();
    let committed: usize = (1000..1600).map(|seed| walk(seed, replicas(seed), 3000, true)).sum();
    assert!(committed > 1000, "the walks did something: {committed} writes committed");
}

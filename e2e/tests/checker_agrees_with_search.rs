//! Promise: the fast checker and a search that simply tries every order agree on short histories, right and wrong.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use thalweg_e2e::checker::{Dialect, check};
use thalweg_e2e::history::{
    Action, Append, Content, Event, FinalLog, History, Message, MessageId, Outcome, Position, Refusal, Seen,
    chain,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Model {
    live: bool,
    gone: bool,
    log: Vec<MessageId>,
    closed: bool,
}

fn position(messages: usize) -> Position {
    Position { messages: messages as u64, bytes: messages as u64 }
}

fn content(ids: &[MessageId], closed: bool) -> Outcome {
    let hash = ids.iter().fold(0, |hash, &id| chain(hash, id));
    Outcome::Read(Content {
        next: position(ids.len()),
        up_to_date: true,
        closed,
        count: ids.len() as u64,
        hash,
    })
}

impl Model {
    fn seen(&self) -> Seen {
        Seen { tail: position(self.log.len()), closed: self.closed }
    }

    /// What the stream answers, and what it becomes.
    fn apply(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Create(content) if !self.live && !self.gone => {
                self.live = true;
                self.log.extend(content.messages.iter().map(|message| message.id));
                Outcome::Created { new: true, seen: self.seen() }
            }
            _ if !self.live => Outcome::Refused(Refusal::NotFound),
            Action::Create(_) if self.closed => Outcome::Refused(Refusal::Conflict),
            Action::Create(_) => Outcome::Created { new: false, seen: self.seen() },
            Action::Append(append) if self.closed && !append.messages.is_empty() => {
                Outcome::Refused(Refusal::Closed(Some(self.seen().tail)))
            }
            Action::Append(append) => {
                self.log.extend(append.messages.iter().map(|message| message.id));
                self.closed |= append.close;
                Outcome::Appended { duplicate: false, seen: self.seen() }
            }
            Action::Read { .. } => content(&self.log, self.closed),
            Action::Head => Outcome::Headed(self.seen()),
            Action::Delete => {
                (self.live, self.gone) = (false, true);
                Outcome::Deleted
            }
        }
    }

    fn matches(&self, end: &FinalLog) -> bool {
        let ids: Vec<MessageId> = end.messages.iter().map(|message| message.id).collect();
        self.live == end.present && self.log == ids && self.closed == end.closed
    }
}

/// Whether some order explains everything: Wing and Gong's search, remembering where it has been.
fn explainable(history: &History) -> bool {
    fn step(history: &History, done: u32, model: &Model, been: &mut HashSet<(u32, Model)>) -> bool {
        let open = |index: &usize| done & (1 << index) == 0;
        let unknown = |index: usize| history.events[index].outcome == Outcome::Unknown;
        let waiting: Vec<usize> = (0..history.events.len()).filter(open).collect();
        if waiting.iter().all(|&index| unknown(index)) && model.matches(&history.end) {
            return true;
        }
        if !been.insert((done, model.clone())) {
            return false;
        }
        let known = waiting.iter().filter(|&&index| !unknown(index));
        let deadline = known.map(|&index| history.events[index].ret).min().unwrap_or(u64::MAX);
        waiting.iter().filter(|&&index| history.events[index].call <= deadline).any(|&index| {
            let event = &history.events[index];
            let mut next = model.clone();
            let outcome = next.apply(&event.action);
            (event.outcome == outcome || unknown(index)) && step(history, done | 1 << index, &next, been)
        })
    }
    step(history, 0, &Model::default(), &mut HashSet::new())
}

/// Draws of a test run.
struct Dice(TestRng);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap_or(0)
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

fn draw_messages(id: &mut MessageId, count: u64) -> Vec<Message> {
    let ids = *id + 1..=*id + count;
    *id += count;
    ids.map(|id| Message { id, bytes: 1 }).collect()
}

fn draw_create(dice: &mut Dice, id: &mut MessageId) -> Action {
    let count = if dice.once_in(2) { 0 } else { 1 + u64::from(dice.once_in(2)) };
    Action::Create(Append { messages: draw_messages(id, count), ..Append::default() })
}

/// A history has either several creations or deletions: a life is not created again after its deletion.
fn draw_action(dice: &mut Dice, id: &mut MessageId, deletes: bool) -> Action {
    match dice.below(14) {
        0 if !deletes => draw_create(dice, id),
        0 => Action::Delete,
        1..=5 => Action::Append(Append { messages: draw_messages(id, 1), ..Append::default() }),
        6 => Action::Append(Append { messages: draw_messages(id, 2), ..Append::default() }),
        7 => Action::Append(Append { messages: draw_messages(id, 1), close: true, ..Append::default() }),
        8 => Action::Append(Append { close: true, ..Append::default() }),
        9..=11 => Action::Read { from: Position::default() },
        _ => Action::Head,
    }
}

/// A request on its way: sent, maybe done, maybe answered.
struct Pending {
    event: usize,
    action: Action,
    outcome: Option<Outcome>,
}

/// Three clients against a correct stream; some answers are lost, before or after the effect.
fn correct_history(dice: &mut Dice, count: usize) -> History {
    let mut model = Model::default();
    let mut events: Vec<Event> = Vec::new();
    let mut pending: [Option<Pending>; 3] = [None, None, None];
    let (mut id, mut time, deletes) = (0, 0, dice.once_in(2));
    while events.len() < count || pending.iter().any(Option::is_some) {
        time += 1;
        let client = dice.below(3);
        match &mut pending[client] {
            None if events.len() < count => {
                let action = if events.is_empty() {
                    draw_create(dice, &mut id)
                } else {
                    draw_action(dice, &mut id, deletes)
                };
                let event = events.len();
                let (call, ret) = (time, u64::MAX);
                let number = u32::try_from(client).unwrap_or(0);
                events.push(Event {
                    client: number,
                    call,
                    ret,
                    action: action.clone(),
                    outcome: Outcome::Unknown,
                });
                pending[client] = Some(Pending { event, action, outcome: None });
            }
            None => {}
            Some(request) if request.outcome.is_none() && !dice.once_in(12) => {
                request.outcome = Some(model.apply(&request.action));
            }
            Some(request) => {
                let event = &mut events[request.event];
                event.ret = time;
                if let (Some(outcome), false) = (request.outcome, dice.once_in(6)) {
                    event.outcome = outcome;
                }
                pending[client] = None;
            }
        }
    }
    let messages = model.log.iter().map(|&id| Message { id, bytes: 1 }).collect();
    let end = FinalLog { messages, closed: model.closed, present: model.live, ..FinalLog::default() };
    History { name: "drawn".into(), events, end, ..History::default() }
}

/// Changes one thing. It may stay explainable.
fn bend(dice: &mut Dice, history: &mut History) {
    let log: Vec<MessageId> = history.end.messages.iter().map(|message| message.id).collect();
    let (one, two) = (dice.below(history.events.len()), dice.below(history.events.len()));
    let other = history.events[two].clone();
    let length = dice.below(log.len() + 1);
    let event = &mut history.events[one];
    match dice.below(9) {
        0 => (event.call, event.ret) = (other.call, other.ret),
        1 => event.outcome = Outcome::Unknown,
        2 => {
            let shown = Seen { tail: position(length), closed: dice.once_in(3) };
            match &mut event.outcome {
                Outcome::Created { seen, .. } | Outcome::Appended { seen, .. } | Outcome::Headed(seen) => {
                    *seen = shown
                }
                Outcome::Refused(Refusal::Closed(tail)) => *tail = Some(shown.tail),
                Outcome::Read(read) => {
                    read.closed = shown.closed;
                }
                _ => {}
            }
        }
        3 if matches!(event.action, Action::Read { .. }) => {
            let mut ids = log[..length].to_vec();
            if dice.once_in(4) {
                ids.reverse();
            }
            event.outcome = content(&ids, dice.once_in(3));
        }
        4 if matches!(event.action, Action::Append(_) | Action::Head | Action::Read { .. }) => {
            event.outcome = Outcome::Refused(Refusal::NotFound);
        }
        5 => history.end.closed ^= true,
        6 if !log.is_empty() => {
            history.end.messages.remove(dice.below(log.len()));
        }
        7 if !log.is_empty() => {
            let (a, b) = (dice.below(log.len()), dice.below(log.len()));
            history.end.messages.swap(a, b);
        }
        _ => history.end.present ^= true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn the_checker_and_the_search_agree(count in 2usize..12, bends in 0usize..4, mut rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let mut dice = Dice(TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &{
            let mut seed = [0; 32];
            seed.chunks_mut(8).for_each(|part| part.copy_from_slice(&rng.next_u64().to_le_bytes()));
            seed
        }));
        let mut history = correct_history(&mut dice, count);
        prop_assert!(explainable(&history), "the search refuses a correct history: {:#?}", history);
        for _ in 0..bends {
            bend(&mut dice, &mut history);
        }
        let found = check(&history, Dialect::MessagesAndBytes);
        let explainable = explainable(&history);
        prop_assert_eq!(found.is_empty(), explainable, "{:?}\n{:#?}", found, history);
    }
}

//! The table of what is under way.

use super::*;
use crate::core::Reply;
use crate::runtime::mailbox::Answered;

mod golden;

const LEADER: ReplicaId = ReplicaId(1);

fn done() -> Answer {
    Ok(Answered { reply: Reply::Released(None), released: None })
}

fn bytes() -> Bytes {
    answer_bytes(&done(), LogIndex(7)).unwrap()
}

#[tokio::test]
async fn an_answer_counts_once_and_only_from_whom_was_asked() {
    let errands = Errands::new(Boot(3));
    let mut ticket = errands.begin(LEADER, 10).unwrap();
    errands.answered(ReplicaId(2), ticket.number, &bytes());
    errands.answered(LEADER, ticket.number + 1, &bytes());
    assert!(ticket.told.try_recv().is_err());
    errands.answered(LEADER, ticket.number, &bytes());
    errands.answered(LEADER, ticket.number, &bytes());
    assert_eq!((&mut ticket.told).await.unwrap(), (done(), LogIndex(7)));
}

#[tokio::test]
async fn a_way_that_is_lost_answers_nothing_of_what_was_asked_on_it() {
    let errands = Errands::new(Boot(3));
    let mut lost = errands.begin(LEADER, 10).unwrap();
    let mut other = errands.begin(ReplicaId(2), 10).unwrap();
    errands.lost(LEADER);
    assert!((&mut lost.told).await.is_err());
    errands.answered(ReplicaId(2), other.number, &bytes());
    assert!((&mut other.told).await.is_ok());
    assert_eq!(errands.lock().bytes, 0);
}

#[test]
fn what_is_under_way_is_bounded_and_whoever_gives_up_makes_room() {
    let errands = Errands::new(Boot(3));
    let large = errands.begin(LEADER, UNDER_WAY_BYTES_MAX + 1).unwrap();
    assert_eq!(errands.begin(LEADER, 1).err(), Some(Failure::Overloaded));
    drop(large);
    let many: Vec<_> = (0..UNDER_WAY_MAX).map(|_| errands.begin(LEADER, 1).unwrap()).collect();
    assert_eq!(errands.begin(LEADER, 1).err(), Some(Failure::Overloaded));
    drop(many);
    assert!(errands.begin(LEADER, 1).is_ok());
}

#[test]
fn no_number_of_an_earlier_start_is_used_again() {
    let (earlier, later) = (Errands::new(Boot(3)), Errands::new(Boot(4)));
    let (first, second) = (earlier.begin(LEADER, 1).unwrap().number, later.begin(LEADER, 1).unwrap().number);
    assert!(second > first + u64::from(u32::MAX) - 1 && first != UNHEARD);
}

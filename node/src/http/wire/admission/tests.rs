//! Who gets room, who waits for it and who is cut, without sockets.

use super::*;

const KIB: usize = 1024;
const MIB: usize = 1 << 20;

fn admission(requests: usize, body: usize) -> Admission {
    Admission::new(&Limits {
        request_bytes_in_flight_max: requests,
        body_bytes_max: body,
        // A quarter is for events.
        response_bytes_in_flight_max: 4 * 256 * KIB / 3,
        admission_wait: Duration::from_millis(200),
        ..Limits::default()
    })
}

/// A body that has begun and grows.
struct Growing {
    grant: Grant,
    share: Share,
    entered: Entered,
}

impl Growing {
    async fn begin(admission: &Admission, bytes: usize, most: usize) -> Option<Self> {
        let (grant, share) = admission.request(bytes, most).await?;
        let entered = admission.enter_request(share, &Arc::default(), bytes, most);
        entered.moved(Instant::now(), bytes, most - bytes);
        Some(Self { grant, share, entered })
    }

    async fn grow(&mut self, admission: &Admission, bytes: usize, most: usize) -> bool {
        admission.more((&mut self.grant, self.share), (bytes, most), &self.entered).await
    }
}

#[tokio::test]
async fn bytes_beyond_the_budget_are_refused_after_a_bounded_wait() {
    let admission = admission(100 * MIB, 4 * MIB);
    let first = admission.request(70 * MIB, 70 * MIB).await.unwrap();
    assert!(admission.request(3 * MIB, 3 * MIB).await.is_none());
    drop(first);
    assert_eq!(admission.request(70 * MIB, 70 * MIB).await.unwrap().0.bytes(), 70 * MIB);
    assert_eq!(admission.request_bytes_free(), 100 * MIB);
}

#[tokio::test]
async fn large_bodies_leave_room_for_small_ones() {
    let admission = admission(32 * MIB, 4 * MIB);
    let large = admission.request(21 * MIB, 21 * MIB).await.unwrap();
    let (small, share) = admission.request(KIB, KIB).await.unwrap();
    assert_eq!(share, Share::Small);
    drop((small, large));
    assert_eq!(admission.request_bytes_free(), 32 * MIB);
}

#[tokio::test]
async fn two_half_read_bodies_that_need_each_others_room_are_both_finished() {
    // 3 MiB for all (one of them small ones'), 4 MiB to finish with.
    let admission = Arc::new(admission(8 * MIB, 4 * MIB));
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(Growing::begin(&admission, MIB, 4 * MIB).await.unwrap());
    }
    assert!(admission.requests.large.now(1).is_none(), "they hold everything");
    let finishing = bodies.into_iter().map(|mut body| {
        let admission = Arc::clone(&admission);
        tokio::spawn(async move {
            assert!(body.grow(&admission, 2 * MIB, 4 * MIB).await, "it waits for ever, or too long");
            // The rest is there at once: whoever has some of the reserve has all that it needs.
            assert!(body.grow(&admission, 4 * MIB, 4 * MIB).await);
        })
    });
    for task in finishing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(admission.request_bytes_free(), 8 * MIB);
}

#[tokio::test]
async fn of_bodies_that_want_the_last_room_the_slowest_is_cut() {
    let admission = admission(8 * MIB, 4 * MIB);
    let slow = Growing::begin(&admission, MIB / 2, 4 * MIB).await.unwrap();
    let middling = Growing::begin(&admission, MIB, 4 * MIB).await.unwrap();
    let rest = admission.requests.large.permits.available_permits();
    let fast = Growing::begin(&admission, rest, rest).await.unwrap();
    let newcomer = admission.request(16 * KIB, 4 * MIB);
    let cut = async {
        while !slow.entered.is_cut() {
            tokio::task::yield_now().await;
        }
        drop(slow);
    };
    let (newcomer, ()) = tokio::join!(newcomer, cut);
    assert!(newcomer.is_some());
    assert!(!middling.entered.is_cut() && !fast.entered.is_cut());
    assert_eq!(admission.transfers_cut(), 1);
}

#[tokio::test]
async fn a_response_that_can_wait_gets_its_room_when_another_is_done_however_large_it_is() {
    let admission = admission(0, KIB);
    let large = admission.events.large.bytes;
    let first = admission.event_in_time(large, true).await;
    assert!(admission.event_now(100 * KIB, true).is_none());
    let mut waiting = pin!(admission.event_in_time(1 << 30, true));
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
    drop(first);
    assert_eq!(waiting.await.grant.bytes(), large, "all there is for large ones");
}

#[tokio::test]
async fn events_and_answers_do_not_wait_for_each_other_nor_small_events_for_large_ones() {
    let admission = admission(0, KIB);
    let _large = admission.event_in_time(1 << 30, true).await;
    let small = admission.events.small.bytes / 2;
    assert!(admission.event_now(small, true).is_some());
    assert_eq!(admission.response(128 * KIB).unwrap().bytes(), 128 * KIB);
    let _answers = admission.response_of(1 << 30).await.unwrap();
    assert!(admission.event_now(small, true).is_some());
    assert!(admission.response_bytes_used() > 0 && admission.response_bytes_free() > 0);
}

#[tokio::test]
async fn subscribers_that_have_read_an_event_find_room_however_many_newcomers_wait() {
    let admission = admission(0, KIB);
    let small = admission.events.small.bytes / 4;
    let newcomers = [admission.event_now(small, false), admission.event_now(small, false)];
    assert!(newcomers.iter().all(Option::is_some));
    assert!(admission.event_now(small, false).is_none());
    let mut waiting = pin!(admission.event_in_time(small, false));
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
    assert!(admission.event_now(2 * small, true).is_some());
    drop(newcomers);
    assert_eq!(waiting.await.grant.bytes(), small);
}

#[tokio::test]
async fn what_is_kept_beside_a_body_waits_for_room_and_may_use_the_reserve() {
    let admission = admission(16 * MIB, 4 * MIB);
    let bodies = admission.request(9 * MIB, 9 * MIB).await.unwrap();
    assert!(admission.beside_request_now(MIB).is_none());
    let first = admission.beside_request(3 * MIB).await.expect("from the reserve");
    let (second, ()) = tokio::join!(admission.beside_request(2 * MIB), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(bodies);
    });
    assert!(second.is_some(), "from the body that ended");
    drop((first, second));
    assert_eq!(admission.request_bytes_free(), 16 * MIB);
    let _all = admission.request(9 * MIB, 9 * MIB).await.unwrap();
    let _reserve = admission.beside_request(4 * MIB).await.unwrap();
    assert!(admission.beside_request(MIB).await.is_none(), "not for ever");
}

#[tokio::test]
async fn responses_get_smaller_before_they_are_refused_and_small_ones_need_no_room() {
    let admission = admission(0, KIB);
    let first = admission.response(128 * KIB).unwrap();
    let mut second = admission.response(128 * KIB).unwrap();
    let third = admission.response(128 * KIB).unwrap();
    assert_eq!([&first, &second, &third].map(Grant::bytes), [128 * KIB, 64 * KIB, 64 * KIB]);
    assert!(admission.response(64 * KIB).is_none());
    assert_eq!(admission.response_of(SMALL_ANSWER_BYTES_MAX).await.unwrap().bytes(), 0);
    second.shrink(10);
    assert_eq!(admission.responses.free(), 64 * KIB - 10);
}

#[tokio::test]
async fn an_answer_that_the_socket_does_not_take_counts_from_then_on() {
    let admission = admission(0, KIB);
    let (watch, mut grant) = (Arc::default(), Grant::default());
    let stuck = admission.stuck(&mut grant, &watch, KIB).unwrap();
    assert_eq!(admission.response_bytes_used(), 1024);
    let others = [admission.response(192 * KIB), admission.response(63 * KIB)];
    assert!(others.iter().all(Option::is_some));
    assert!(admission.stuck(&mut Grant::default(), &watch, KIB).is_none(), "nobody can keep it");
    drop((stuck, grant));
    assert_eq!(admission.response_bytes_used(), 255 * 1024);
}

//! What the ledger forgets and when, by a clock that these tests hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Begin, Ledger, Line, SharedFrame};

#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Line for Counting {
    fn close(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const ME: [u8; 16] = [1; 16];
const FIRST: [u8; 32] = [1; 32];

fn ledger() -> (Ledger<Counting>, Arc<Counting>, Instant) {
    let (ledger, line, now) = (Ledger::new(512), Arc::new(Counting::default()), Instant::now());
    assert!(ledger.arrive(ME, None, 0, line.clone(), now));
    (ledger, line, now)
}

fn frame(bytes: usize) -> SharedFrame {
    Arc::new(Zeroizing::new(vec![0; bytes]))
}

fn done(ledger: &Ledger<Counting>, number: u64, bytes: usize, now: Instant) {
    let begun = ledger.begin(&ME, number, 0, FIRST, false, now);
    assert!(matches!(begun, Begin::Run(_)), "{number}: {begun:?}");
    ledger.finish(&ME, number, frame(bytes), now);
}

fn again(ledger: &Ledger<Counting>, number: u64, now: Instant) -> Begin {
    ledger.begin(&ME, number, 0, FIRST, false, now)
}

#[test]
fn the_number_of_another_request_is_not_taken_while_that_runs_or_after() {
    let (ledger, _, now) = ledger();
    assert!(matches!(again(&ledger, 1, now), Begin::Run(_)));
    let other = || ledger.begin(&ME, 1, 0, [2; 32], false, now);
    assert!(matches!(other(), Begin::Another));
    ledger.finish(&ME, 1, frame(1), now);
    assert!(matches!(other(), Begin::Another));
    assert!(matches!(again(&ledger, 1, now), Begin::Answered(_)));
}

#[test]
fn an_outcome_is_kept_for_ten_minutes_and_then_not_known() {
    let (ledger, _, now) = ledger();
    done(&ledger, 1, 10, now);
    let ten_minutes = now + Duration::from_secs(600);
    assert!(matches!(again(&ledger, 1, ten_minutes), Begin::Answered(frame) if frame.len() == 10));
    let later = ten_minutes + Duration::from_millis(1);
    assert!(matches!(again(&ledger, 1, later), Begin::Forgotten));
}

#[test]
fn an_outcome_is_dropped_as_soon_as_its_client_has_it() {
    let (ledger, _, now) = ledger();
    done(&ledger, 1, 10, now);
    assert!(matches!(
        ledger.begin(&ME, 2, 2, FIRST, false, now),
        Begin::Run(_)
    ));
    assert!(matches!(again(&ledger, 1, now), Begin::Forgotten));
}

#[test]
fn of_more_than_1024_outcomes_the_oldest_are_forgotten_and_not_done_again() {
    let (ledger, _, now) = ledger();
    for number in 1..=1025 {
        done(&ledger, number, 1, now + Duration::from_millis(number));
    }
    let now = now + Duration::from_secs(2);
    assert!(matches!(again(&ledger, 1, now), Begin::Forgotten));
    assert!(matches!(again(&ledger, 2, now), Begin::Answered(_)));
    assert!(matches!(again(&ledger, 1025, now), Begin::Answered(_)));
}

#[test]
fn of_more_than_16_mib_of_outcomes_the_oldest_are_forgotten_and_the_newest_stays_whatever_it_has() {
    let (ledger, _, now) = ledger();
    let at = |milliseconds| now + Duration::from_millis(milliseconds);
    done(&ledger, 1, 8 << 20, at(1));
    done(&ledger, 2, 8 << 20, at(2));
    assert!(matches!(again(&ledger, 1, at(3)), Begin::Answered(_)));
    done(&ledger, 3, 1, at(4));
    assert!(matches!(again(&ledger, 1, at(5)), Begin::Forgotten));
    assert!(matches!(again(&ledger, 2, at(5)), Begin::Answered(_)));
    done(&ledger, 4, 40 << 20, at(6));
    assert!(matches!(again(&ledger, 2, at(7)), Begin::Forgotten));
    assert!(matches!(again(&ledger, 4, at(7)), Begin::Answered(_)));
}

#[test]
fn what_was_sent_before_the_agent_knew_its_client_is_not_carried_out() {
    let (ledger, now) = (Ledger::new(512), Instant::now());
    assert!(ledger.arrive(ME, None, 7, Arc::new(Counting::default()), now));
    assert!(matches!(again(&ledger, 7, now), Begin::Forgotten));
    assert!(matches!(again(&ledger, 8, now), Begin::Run(_)));
}

#[test]
fn a_client_that_stays_away_leaves_nothing_behind_and_its_work_is_not_done_again_when_it_returns() {
    let (ledger, line, now) = ledger();
    done(&ledger, 1, 10, now);
    ledger.leave(&ME, &line, now);
    let later = now + Duration::from_secs(601);
    assert!(ledger.arrive([2; 16], None, 0, line.clone(), later));
    assert!(!super::lock(&ledger.clients).contains_key(&ME));
    assert!(ledger.arrive(ME, None, 1, line, later));
    assert!(matches!(again(&ledger, 1, later), Begin::Forgotten));
}

#[test]
fn the_65th_client_takes_the_place_of_the_one_that_is_away_longest_and_of_none_that_is_there() {
    let (ledger, line, now) = ledger();
    let client = |number| [number; 16];
    for number in 2..=64 {
        assert!(ledger.arrive(client(number), None, 0, line.clone(), now));
    }
    assert!(!ledger.arrive(client(65), None, 0, line.clone(), now));
    ledger.leave(&client(9), &line, now);
    ledger.leave(&client(5), &line, now + Duration::from_secs(1));
    let later = now + Duration::from_secs(2);
    assert!(ledger.arrive(client(65), None, 0, line, later));
    assert!(!super::lock(&ledger.clients).contains_key(&client(9)));
    assert!(super::lock(&ledger.clients).contains_key(&client(5)));
}

#[test]
fn a_client_that_comes_again_ends_its_earlier_connection_whose_end_stops_nothing() {
    let (ledger, first, now) = ledger();
    let begun = ledger.begin(&ME, 1, 0, FIRST, true, now);
    let Begin::Run(cancellation) = begun else {
        panic!("{begun:?}")
    };
    let second = Arc::new(Counting::default());
    assert!(ledger.arrive(ME, None, 1, second.clone(), now));
    assert_eq!(first.0.load(Ordering::SeqCst), 1);
    ledger.leave(&ME, &first, now);
    assert!(!cancellation.is_cancelled());
    assert!(matches!(again(&ledger, 1, now), Begin::Running));
    ledger.leave(&ME, &second, now);
    assert!(cancellation.is_cancelled());
}

#[test]
fn a_successor_waits_until_the_work_of_the_one_before_it_has_stopped_and_no_longer() {
    let (ledger, now) = (Ledger::<Counting>::new(512), Instant::now());
    let (first, other) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let ours = || Some("ours".to_owned());
    assert!(ledger.arrive(ME, ours(), 0, first.clone(), now));
    assert!(ledger.arrive([3; 16], Some("theirs".to_owned()), 0, other.clone(), now));
    let begun = ledger.begin(&ME, 1, 0, FIRST, false, now);
    let Begin::Run(cancellation) = begun else {
        panic!("{begun:?}")
    };
    let others = ledger.begin(&[3; 16], 1, 0, FIRST, false, now);
    let Begin::Run(of_another) = others else {
        panic!("{others:?}")
    };
    // The same client again is no successor.
    assert!(!ledger.supersede(&ME, "ours"));
    assert!(!cancellation.is_cancelled());
    assert!(ledger.supersede(&[2; 16], "ours"));
    assert!(cancellation.is_cancelled());
    assert_eq!(first.0.load(Ordering::SeqCst), 1);
    assert!(ledger.supersede(&[2; 16], "ours"));
    ledger.finish(&ME, 1, frame(1), now);
    assert!(!ledger.supersede(&[2; 16], "ours"));
    assert!(!of_another.is_cancelled());
    assert_eq!(other.0.load(Ordering::SeqCst), 0);
}

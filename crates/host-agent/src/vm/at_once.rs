use std::panic::resume_unwind;
use std::thread;

/// Does the same for each of these at once, and answers in their order. Most of it is waiting for processes, of which each disk takes some.
pub(super) fn at_once<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [only] = all {
        return vec![work(only)];
    }
    thread::scope(|scope| {
        let begun: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        let ended = begun.into_iter().map(|thread| match thread.join() {
            Ok(answer) => answer,
            Err(panic) => resume_unwind(panic),
        });
        ended.collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn all_are_under_way_together_and_the_answers_are_in_order() {
        let together = Barrier::new(5);
        let numbers = [4, 3, 2, 1, 0];
        let doubled = at_once(&numbers, |number| {
            together.wait();
            number * 2
        });
        assert_eq!(doubled, [8, 6, 4, 2, 0]);
        assert_eq!(at_once(&[1], |number| number + 1), [2]);
        assert_eq!(at_once(&[], |number: &u8| *number), Vec::<u8>::new());
    }
}

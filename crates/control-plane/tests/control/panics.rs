//! A driver that panics, and pools that are away, are nobody else's trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_control_plane::{ControlPlaneError, MoveVolume, VolumeState};
use strongroom_storage_pool::ErrorKind;
use strongroom_storage_pool::fake::{MemoryPool, Moment};
use strongroom_types::Call;

use crate::site::{Site, able_host, create, id, mib, new_volume};

/// Makes the pool's driver panic in this operation, before or after it is done, while the switch is on.
fn panics(pool: &MemoryPool, operation: &'static str, when: Moment) -> Arc<AtomicBool> {
    let switch = Arc::new(AtomicBool::new(true));
    let on = switch.clone();
    pool.fail_when(move |moment, call| {
        let strikes = on.load(Ordering::SeqCst) && moment == when && call.operation == operation;
        assert!(!strikes, "the driver has a fault");
        None
    });
    switch
}

#[test]
fn a_driver_that_panics_fails_one_call_and_is_undone() {
    for when in [Moment::Before, Moment::After] {
        let (site, control) = Site::bare(able_host("local", &["bad", "good"]));
        let (bad, control) = site.add_memory(control, MemoryPool::new(id("bad")));
        let (_, control) = site.add_memory(control, MemoryPool::new(id("good")));
        let switch = panics(&bad, "create", when);
        let mut new = new_volume("vol", "secret");
        new.pool = Some(id("bad"));
        let refused = control.create_volume(&Call::new(), &new).unwrap_err();
        assert!(matches!(refused, ControlPlaneError::Pool { .. }), "{refused}");
        assert_eq!(refused.kind(), Some(ErrorKind::Tool));
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains("driver panicked"), "{cause}");
        assert_eq!(
            (bad.volumes(), site.count("passphrases"), site.count("jobs")),
            (vec![], 0, 0)
        );
        // Neither that pool nor another is spoilt.
        switch.store(false, Ordering::SeqCst);
        create(&control, "vol", "secret");
        new.id = Some(id("second"));
        control.create_volume(&Call::new(), &new).unwrap();
    }
}

#[test]
fn a_driver_that_panics_while_it_undoes_leaves_the_job_for_the_next_start() {
    let (site, control) = Site::bare(able_host("local", &["bad"]));
    let (bad, control) = site.add_memory(control, MemoryPool::new(id("bad")));
    create(&control, "keep", "secret");
    bad.fail_when(|_, call| {
        let strikes = ["create", "delete"].contains(&call.operation);
        assert!(!strikes, "the driver has a fault");
        None
    });
    let refused = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::NotUndone { .. }),
        "{refused}"
    );
    assert!(matches!(
        control.volume(&id("vol")).unwrap().state,
        VolumeState::Failed(_)
    ));
    control.grow_volume(&Call::new(), &id("keep"), mib(2)).unwrap();
    bad.fail_when(|_, _| None);
    let (control, recovered) = site.recover();
    assert_eq!(recovered.len(), 1);
    control.volume(&id("vol")).unwrap_err();
}

#[test]
fn a_pool_that_panics_when_asked_is_refused_and_others_are_asked_on() {
    let (site, control) = Site::bare(able_host("local", &["bad", "good"]));
    let (bad, control) = site.add_memory(control, MemoryPool::new(id("bad")));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("good")));
    panics(&bad, "usage", Moment::Before);
    let made = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap();
    assert_eq!(made.pool.as_str(), "good");
    let error = control.pool_usage(&Call::new(), &id("bad")).unwrap_err();
    assert!(matches!(error, ControlPlaneError::Pool { .. }), "{error}");
    control.pool_usage(&Call::new(), &id("good")).unwrap();
}

#[test]
fn a_pool_that_answers_late_is_given_up_and_the_volume_goes_elsewhere() {
    let (site, control) = Site::bare(able_host("local", &["late", "good"]));
    let (late, control) = site.add_memory(control, MemoryPool::new(id("late")));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("good")));
    late.fail_when(|moment, call| {
        let hangs = moment == Moment::Before && call.operation == "usage";
        let error =
            || strongroom_storage_pool::PoolError::new(ErrorKind::Deadline, "usage", "no answer in time");
        hangs.then(error)
    });
    let made = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap();
    assert_eq!(made.pool.as_str(), "good");
    let refused = control
        .move_volume(&Call::new(), &MoveVolume::new(id("vol"), id("late")))
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("late cannot be used") && text.contains("no answer in time"),
        "{text}"
    );
}

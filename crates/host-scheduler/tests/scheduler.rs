//! The scheduler against a second reading of its rules.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

use proptest::prelude::*;
use strongroom_host_scheduler::{
    CapabilityFilter, CapacityFilter, ExclusionFilter, HostFilter, Need, PlacementFilter, ReachFilter,
    Rejection, Scheduler, StateFilter,
};
use strongroom_types::{ByteSize, Capability, CapabilityReport, Finding, HostFacts, HostState};

const STATES: [HostState; 4] = [
    HostState::Up,
    HostState::Maintenance,
    HostState::Disabled,
    HostState::Down,
];
const ASKED: [Capability; 3] = [Capability::Qcow2Luks, Capability::RawLuks1, Capability::Luks2];

prop_compose! {
    fn host(index: usize)(
        state in 0usize..6, works in prop::collection::vec(any::<bool>(), 3),
        pools in prop::collection::vec(any::<bool>(), 2), memory in 0u64..4, cores in 0u32..4,
        cluster in prop::option::of(0u8..2), zone in prop::option::of(0u8..2),
    ) -> HostFacts {
        let mut facts = HostFacts::new(format!("host-{index}").parse().unwrap());
        facts.state = *STATES.get(state).unwrap_or(&HostState::Up);
        facts.capabilities = ASKED.into_iter().zip(works).map(|(c, works)| {
            (c, if works { Finding::Works("seen".into()) } else { Finding::Missing("not seen".into()) })
        }).collect::<CapabilityReport>();
        facts.pools = pools.iter().enumerate().filter(|(_, p)| **p).map(|(i, _)| format!("pool-{i}").parse().unwrap()).collect();
        facts.free_memory = ByteSize::gib(memory);
        facts.free_cores = cores;
        facts.cluster = cluster.map(|c| format!("c{c}").parse().unwrap());
        facts.zone = zone.map(|z| format!("z{z}").parse().unwrap());
        facts
    }
}

fn hosts() -> impl Strategy<Value = Vec<HostFacts>> {
    (0usize..6).prop_flat_map(|n| (0..n).map(host).collect::<Vec<_>>())
}

prop_compose! {
    fn need()(
        asked in prop::collection::vec(any::<bool>(), 3), pool in prop::option::of(0usize..2), memory in 0u64..3,
        cores in 0u32..3, cluster in prop::option::of(0u8..2), zone in prop::option::of(0u8..2),
        host in prop::option::of(0usize..4), exclude in prop::option::of(0usize..4),
    ) -> Need {
        let mut need = Need::any().with_free(ByteSize::gib(memory), cores);
        need.capabilities = ASKED.into_iter().zip(asked).filter(|(_, a)| *a).map(|(c, _)| c).collect();
        need.pools.extend(pool.map(|p| format!("pool-{p}").parse().unwrap()));
        need.cluster = cluster.map(|c| format!("c{c}").parse().unwrap());
        need.zone = zone.map(|z| format!("z{z}").parse().unwrap());
        need.host = host.map(|h| format!("host-{h}").parse().unwrap());
        need.exclude.extend(exclude.map(|h| format!("host-{h}").parse().unwrap()));
        need
    }
}

/// The rules once more, written as one condition.
fn fits(need: &Need, host: &HostFacts) -> bool {
    host.state == HostState::Up
        && need.capabilities.iter().all(|c| host.capabilities.has(*c))
        && need.pools.is_subset(&host.pools)
        && need.memory <= host.free_memory
        && need.cores <= host.free_cores
        && (need.cluster.is_none() || need.cluster == host.cluster)
        && (need.zone.is_none() || need.zone == host.zone)
        && need.host.as_ref().is_none_or(|wanted| *wanted == host.id)
        && !need.exclude.contains(&host.id)
}

proptest! {
    #[test]
    fn chooses_a_host_exactly_when_one_fits(hosts in hosts(), need in need()) {
        match Scheduler::default().choose(&need, &hosts) {
            Ok(chosen) => {
                prop_assert!(fits(&need, chosen));
                prop_assert!(hosts.iter().filter(|h| fits(&need, h)).all(|h| h.free_memory <= chosen.free_memory));
            }
            Err(no_host) => {
                prop_assert!(!hosts.iter().any(|h| fits(&need, h)));
                let named: Vec<_> = no_host.rejections.iter().map(|(id, _)| id).collect();
                prop_assert_eq!(named, hosts.iter().map(|h| &h.id).collect::<Vec<_>>());
                prop_assert!(no_host.rejections.iter().all(|(_, reasons)| !reasons.is_empty()));
            }
        }
    }

    #[test]
    fn the_order_of_hosts_does_not_matter(hosts in hosts(), need in need()) {
        let there = Scheduler::default().choose(&need, &hosts).map(|h| h.id.clone()).ok();
        let back = Scheduler::default().choose(&need, hosts.iter().rev()).map(|h| h.id.clone()).ok();
        prop_assert_eq!(there, back);
    }
}

#[test]
fn every_reason_against_a_host_is_given() {
    let mut host = HostFacts::new("old".parse().unwrap());
    host.state = HostState::Maintenance;
    host.capabilities.record(
        Capability::Qcow2Luks,
        Finding::Missing("qemu-img is not installed".into()),
    );
    let mut need = Need::any()
        .able_to(Capability::Qcow2Luks)
        .able_to(Capability::Luks2)
        .reaching("gold".parse().unwrap())
        .with_free(ByteSize::gib(2), 4)
        .on("new".parse().unwrap())
        .not_on(host.id.clone());
    need.cluster = Some("c1".parse().unwrap());
    need.zone = Some("z1".parse().unwrap());
    let no_host = Scheduler::default().choose(&need, [&host]).unwrap_err();
    assert_eq!(
        no_host.to_string(),
        "no host will do: old is in maintenance and lacks qcow2-luks: qemu-img is not installed and \
         lacks luks2: not probed and does not reach pool gold and has 0 B of memory free where 2 GiB is needed and \
         has 0 cores free where 4 are needed and is not new and is not in cluster c1 and is not in zone z1 and \
         is ruled out by the caller"
    );
}

#[test]
fn without_hosts_it_says_so() {
    let no_host = Scheduler::default().choose(&Need::any(), []).unwrap_err();
    assert_eq!(no_host.to_string(), "no host is registered");
}

#[test]
fn a_filter_from_elsewhere_takes_part() {
    #[derive(Debug)]
    struct OnTuesdays;
    impl HostFilter for OnTuesdays {
        fn check(&self, _: &Need, _: &HostFacts, reasons: &mut Vec<Rejection>) {
            reasons.push(Rejection::Other {
                reason: "works on Tuesdays".into(),
            });
        }
    }
    let host = HostFacts::new("h".parse().unwrap());
    assert_eq!(
        Scheduler::default().choose(&Need::any(), [&host]).unwrap().id,
        host.id
    );
    let no_host = Scheduler::default()
        .with(OnTuesdays)
        .choose(&Need::any(), [&host])
        .unwrap_err();
    assert_eq!(no_host.to_string(), "no host will do: h works on Tuesdays");
}

#[test]
fn each_filter_alone_gives_its_own_reasons_and_no_others() {
    let mut host = HostFacts::new("h".parse().unwrap());
    host.state = HostState::Disabled;
    let mut need = Need::any()
        .able_to(Capability::Luks2)
        .reaching("gold".parse().unwrap())
        .reaching("silver".parse().unwrap())
        .with_free(ByteSize::gib(1), 1)
        .on("other".parse().unwrap())
        .not_on("h".parse().unwrap());
    (need.cluster, need.zone) = (Some("c".parse().unwrap()), Some("z".parse().unwrap()));
    let (gold, silver) = ("gold".parse().unwrap(), "silver".parse().unwrap());
    let by_filter: [(Box<dyn HostFilter>, Vec<Rejection>); 6] = [
        (Box::new(StateFilter), vec![Rejection::State(HostState::Disabled)]),
        (
            Box::new(CapabilityFilter),
            vec![Rejection::Capability {
                capability: Capability::Luks2,
                reason: "not probed".into(),
            }],
        ),
        (
            Box::new(ReachFilter),
            vec![Rejection::Pool(gold), Rejection::Pool(silver)],
        ),
        (
            Box::new(CapacityFilter),
            vec![
                Rejection::Memory {
                    needed: ByteSize::gib(1),
                    free: ByteSize::default(),
                },
                Rejection::Cores { needed: 1, free: 0 },
            ],
        ),
        (
            Box::new(PlacementFilter),
            vec![
                Rejection::Another("other".parse().unwrap()),
                Rejection::Cluster("c".parse().unwrap()),
                Rejection::Zone("z".parse().unwrap()),
            ],
        ),
        (Box::new(ExclusionFilter), vec![Rejection::Excluded]),
    ];
    for (filter, reasons) in by_filter {
        let name = format!("{filter:?}");
        let alone = Scheduler::empty().with(filter);
        assert_eq!(alone.reasons(&need, &host), reasons, "{name}");
        assert_eq!(
            alone.choose(&need, [&host]).unwrap_err().rejections,
            [(host.id.clone(), reasons)]
        );
        host.state = HostState::Up;
        assert_eq!(alone.reasons(&Need::any(), &host), [], "{name}");
        host.state = HostState::Disabled;
    }
}

#[test]
fn among_equals_the_smallest_id_is_chosen_and_more_memory_beats_it() {
    let host = |name: &str, memory| {
        let mut facts = HostFacts::new(name.parse().unwrap());
        facts.free_memory = ByteSize::gib(memory);
        facts
    };
    let hosts = [host("c", 1), host("a", 1), host("b", 1)];
    let chosen = |hosts: &[HostFacts]| {
        Scheduler::default()
            .choose(&Need::any(), hosts)
            .unwrap()
            .id
            .to_string()
    };
    assert_eq!(chosen(&hosts), "a");
    let [c, a, b] = hosts;
    assert_eq!(chosen(&[a, host("z", 2), b, c]), "z");
}

#[test]
fn a_reference_a_box_and_an_arc_are_filters() {
    let mut host = HostFacts::new("h".parse().unwrap());
    host.state = HostState::Down;
    let by_reference: &'static dyn HostFilter = &StateFilter;
    for scheduler in [
        Scheduler::empty().with(by_reference),
        Scheduler::empty().with(Box::new(StateFilter)),
        Scheduler::empty().with(std::sync::Arc::new(StateFilter)),
    ] {
        let no_host = scheduler.choose(&Need::any(), [&host]).unwrap_err();
        assert_eq!(no_host.to_string(), "no host will do: h is down");
    }
}

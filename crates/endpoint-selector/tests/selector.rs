//! Which host is asked, why no host will do, and what is an endpoint or a selector.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    Endpoint, EndpointSelector, HostAnswer, Need, OpenDirectory, RegisteredEndpoints, Rejection,
};
use strongroom_host_scheduler::Scheduler;
use strongroom_types::{ByteSize, Call, Capability, Finding, HostFacts, HostState};

fn host(name: &str, works: &[Capability], pools: &[&str]) -> HostFacts {
    let mut facts = HostFacts::new(name.parse().unwrap());
    for capability in works {
        facts
            .capabilities
            .record(*capability, Finding::Works("seen".into()));
    }
    facts.pools = pools.iter().map(|p| p.parse().unwrap()).collect();
    facts
}

fn registered(hosts: impl IntoIterator<Item = HostFacts>) -> RegisteredEndpoints {
    let mut endpoints = RegisteredEndpoints::new();
    for facts in hosts {
        endpoints.register(Arc::new(MemoryEndpoint::new(facts)));
    }
    endpoints
}

fn chosen(endpoints: &dyn EndpointSelector, need: &Need) -> String {
    endpoints.select(need).unwrap().host().id.to_string()
}

#[test]
fn the_host_that_is_asked_meets_the_need() {
    let mut roomy = host("roomy", &[Capability::PlainImages], &["gold"]);
    roomy.free_memory = ByteSize::gib(64);
    let endpoints = registered([
        roomy,
        host(
            "crypt",
            &[Capability::PlainImages, Capability::Qcow2Luks],
            &["gold"],
        ),
        host("far", &[Capability::Qcow2Luks], &["silver"]),
    ]);
    let gold = || Need::any().reaching("gold".parse().unwrap());
    assert_eq!(chosen(&endpoints, &gold()), "roomy", "the most free memory");
    assert_eq!(
        chosen(&endpoints, &gold().able_to(Capability::Qcow2Luks)),
        "crypt"
    );
    assert_eq!(
        chosen(&endpoints, &Need::any().reaching("silver".parse().unwrap())),
        "far"
    );
    assert_eq!(
        chosen(&endpoints, &Need::any().on("crypt".parse().unwrap())),
        "crypt"
    );
}

#[test]
fn when_no_host_will_do_every_reason_against_every_host_is_given() {
    let mut tired = host("tired", &[Capability::Qcow2Luks], &["gold"]);
    tired.state = HostState::Maintenance;
    let mut old = host("old", &[], &[]);
    old.capabilities.record(
        Capability::Qcow2Luks,
        Finding::Missing("qemu-img is not installed".into()),
    );
    let endpoints = registered([tired, old]);
    let need = Need::any()
        .reaching("gold".parse().unwrap())
        .able_to(Capability::Qcow2Luks);
    let refused = endpoints.select(&need).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no host will do: tired is in maintenance; old lacks qcow2-luks: qemu-img is not installed and does not reach \
         pool gold"
    );
    let (_, reasons) = &refused.rejections[0];
    assert_eq!(*reasons, [Rejection::State(HostState::Maintenance)]);
    let nobody = RegisteredEndpoints::new().select(&Need::any()).unwrap_err();
    assert_eq!(nobody.to_string(), "no host is registered");
}

#[test]
fn a_host_that_is_registered_again_replaces_itself() {
    let mut endpoints = registered([host("a", &[], &[]), host("b", &[], &[])]);
    endpoints.register(Arc::new(MemoryEndpoint::new(host(
        "a",
        &[Capability::Luks2],
        &[],
    ))));
    let hosts: Vec<_> = endpoints.iter().map(|e| e.host().id.to_string()).collect();
    assert_eq!(hosts, ["b", "a"]);
    assert_eq!(chosen(&endpoints, &Need::any().able_to(Capability::Luks2)), "a");
}

#[test]
fn the_facts_are_those_of_the_moment() {
    #[derive(Debug)]
    struct Flips(std::sync::atomic::AtomicBool);
    impl Endpoint for Flips {
        fn host(&self) -> HostFacts {
            let mut facts = host("flips", &[], &[]);
            if self.0.load(std::sync::atomic::Ordering::SeqCst) {
                facts.state = HostState::Down;
            }
            facts
        }
        fn run(
            &self,
            _: &Call,
            _: &strongroom_endpoint_selector::HostCommand<'_>,
        ) -> Result<HostAnswer, strongroom_endpoint_selector::EndpointError> {
            Ok(HostAnswer::Done)
        }
    }
    let flips = Arc::new(Flips(false.into()));
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(flips.clone());
    assert_eq!(chosen(&endpoints, &Need::any()), "flips");
    flips.0.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        endpoints.select(&Need::any()).unwrap_err().to_string(),
        "no host will do: flips is down"
    );
}

#[test]
fn another_scheduler_decides_by_other_filters() {
    let mut down = host("down", &[], &[]);
    down.state = HostState::Down;
    let endpoints = registered([down]).with_scheduler(Scheduler::empty());
    assert_eq!(chosen(&endpoints, &Need::any()), "down");
}

fn runs<E: Endpoint>(endpoint: &E) {
    assert_eq!(endpoint.host().id.as_str(), "a");
    let answer = endpoint
        .run(&Call::new(), &OpenDirectory::new("/p".as_ref()).into())
        .unwrap();
    assert!(
        matches!(&answer, HostAnswer::Directory(d) if d.writable),
        "{answer:?}"
    );
}

#[test]
fn a_reference_a_box_and_an_arc_are_endpoints() {
    let node = MemoryEndpoint::new(host("a", &[], &[]));
    let by_reference: &dyn Endpoint = &node;
    runs(&by_reference);
    assert_eq!(node.commands(), ["OpenDirectory"]);
    let boxed = Box::new(node);
    runs(&boxed);
    assert_eq!(boxed.commands(), ["OpenDirectory"; 2]);
    let shared = Arc::new(*boxed);
    runs(&shared);
    assert_eq!(shared.commands(), ["OpenDirectory"; 3]);
}

fn selects<S: EndpointSelector>(selector: &S) {
    assert_eq!(chosen(selector, &Need::any()), "a");
    let refused = selector
        .select(&Need::any().able_to(Capability::Luks2))
        .unwrap_err();
    assert_eq!(refused.rejections.len(), 1);
}

#[test]
fn a_reference_a_box_and_an_arc_are_selectors() {
    let endpoints = registered([host("a", &[], &[])]);
    let by_reference: &dyn EndpointSelector = &endpoints;
    selects(&by_reference);
    let boxed = Box::new(endpoints);
    selects(&boxed);
    selects(&Arc::new(*boxed));
}

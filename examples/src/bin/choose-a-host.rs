//! Chooses a host for an encrypted volume and reads why the others were refused.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use strongroom_host_scheduler::{HostFilter, Need, Rejection, Scheduler};
use strongroom_types::{ByteSize, Capability, Finding, HostFacts, HostState};

/// A rule of one's own: hosts whose name says so are kept for one customer.
#[derive(Debug)]
struct NotReserved;

impl HostFilter for NotReserved {
    fn check(&self, _: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        if host.id.as_str().ends_with("-reserved") {
            reasons.push(Rejection::Other {
                reason: "is reserved".to_owned(),
            });
        }
    }
}

fn host(name: &str, state: HostState, qcow2_luks: Finding) -> Result<HostFacts, Box<dyn Error>> {
    let mut facts = HostFacts::new(name.parse()?);
    facts.state = state;
    facts.capabilities.record(Capability::Qcow2Luks, qcow2_luks);
    facts.pools.insert("gold".parse()?);
    facts.free_memory = ByteSize::gib(16);
    Ok(facts)
}

fn main() -> Result<(), Box<dyn Error>> {
    let works = || Finding::Works("made, grew and opened an image".to_owned());
    let mut hosts = vec![
        host(
            "old",
            HostState::Up,
            Finding::Missing("qemu-img is not installed".to_owned()),
        )?,
        host("busy", HostState::Maintenance, works())?,
        host("big-reserved", HostState::Up, works())?,
    ];
    let scheduler = Scheduler::default().with(NotReserved);
    let need = Need::any()
        .able_to(Capability::Qcow2Luks)
        .reaching("gold".parse()?)
        .with_free(ByteSize::gib(1), 0);

    let Err(refusal) = scheduler.choose(&need, &hosts) else {
        return Err("nobody should do".into());
    };
    let named: Vec<_> = refusal.rejections.iter().map(|(host, _)| host.as_str()).collect();
    if named != ["old", "busy", "big-reserved"] {
        return Err(format!("not every host has its reason: {named:?}").into());
    }
    println!("{refusal}\n");
    for (host, reasons) in &refusal.rejections {
        let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        println!("{host:>14}: {}", reasons.join(", "));
    }

    hosts.push(host("new", HostState::Up, works())?);
    let chosen = &scheduler.choose(&need, &hosts)?.id;
    println!("\nwith one more: {chosen}");
    if chosen.as_str() != "new" {
        return Err("the new host is the only one that will do".into());
    }
    Ok(())
}

use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::Serialize;
use strongroom_endpoint_selector::{Endpoint, OpenDirectory};
use strongroom_types::{Call, Finding, HostFacts, HostId};

use crate::cli::{Host, Output};
use crate::commands::absolute;
use crate::output::{print, table};
use crate::remote_hosts::{RemoteHost, RemoteHosts};
use crate::session::{Session, scratch};

#[derive(Debug, Serialize)]
struct HostView {
    encryption_supported: bool,
    /// Where its agent listens; null for this machine.
    address: Option<String>,
    /// Why it cannot be reached; null when it can.
    unreachable: Option<String>,
    #[serde(flatten)]
    facts: HostFacts,
}

impl From<HostFacts> for HostView {
    fn from(facts: HostFacts) -> Self {
        Self {
            encryption_supported: facts.capabilities.encryption_supported(),
            address: None,
            unreachable: None,
            facts,
        }
    }
}

/// Every host. Those elsewhere are asked at the same time.
fn views(session: &Session) -> Result<Vec<HostView>> {
    let remote = session.remote_hosts()?;
    let records = session.control.hosts()?;
    std::thread::scope(|scope| {
        let mut asked = Vec::new();
        for record in &records {
            let asking = match remote.0.get(&record.facts.id) {
                Some(_) => {
                    let elsewhere = session.host_elsewhere(&record.facts.id)?;
                    Some(scope.spawn(|| elsewhere.asked()))
                }
                None => None,
            };
            asked.push((record, asking));
        }
        let mut views = Vec::new();
        for (record, asking) in asked {
            let Some(asking) = asking else {
                views.push(HostView::from(record.facts.clone()));
                continue;
            };
            let Ok((facts, unreachable)) = asking.join() else {
                bail!("host {} could not be asked", record.facts.id);
            };
            let address = remote.0.get(&facts.id).map(|host| host.address.clone());
            views.push(HostView {
                address,
                unreachable,
                ..HostView::from(facts)
            });
        }
        Ok(views)
    })
}

fn remove(session: &Session, name: &HostId) -> Result<()> {
    if *name == session.agent.host().id {
        bail!("{name} is this machine");
    }
    let mut remote = session.remote_hosts()?;
    let is_recorded = session
        .control
        .hosts()?
        .iter()
        .any(|record| record.facts.id == *name);
    if !is_recorded && !remote.0.contains_key(name) {
        bail!("there is no host {name}; `host list` names them");
    }
    let pools: Vec<_> = remote
        .0
        .get(name)
        .map(|host| host.pools.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    if !pools.is_empty() {
        bail!(
            "host {name} reaches pool {}; remove its pools first, with `pool remove`",
            pools.join(", ")
        );
    }
    // Refused while a virtual machine is there.
    session.control.forget_host(name)?;
    remote.0.remove(name);
    remote.write(session.state.path())
}

pub(super) fn run(session: &Session, command: Host, output: Output, call: &Call) -> Result<()> {
    match command {
        Host::Probe { name } => {
            if name != session.agent.host().id {
                bail!(
                    "this program probes the machine it runs on, which is named {}",
                    session.agent.host().id
                );
            }
            let facts = session.agent.probe(call, &scratch(session.state.path()))?;
            session.control.register_host(&facts)?;
            print(output, &HostView::from(facts), capabilities)
        }
        Host::Add {
            name,
            address,
            certificates,
        } => {
            if name == session.agent.host().id {
                bail!("{name} is the name of this machine; have a certificate made for another name");
            }
            let mut remote = RemoteHosts::read(session.state.path())?;
            let earlier = remote.0.remove(&name);
            let host = RemoteHost {
                address,
                certificates: absolute(&certificates)?,
                pools: earlier.map(|earlier| earlier.pools).unwrap_or_default(),
            };
            let endpoint = host.endpoint(&name)?;
            endpoint
                .run(call, &OpenDirectory::new(Path::new("/")).into())
                .with_context(|| format!("host {name} was not added"))?;
            let facts = endpoint.host();
            let address = Some(host.address.clone());
            remote.0.insert(name, host);
            // First the record: a host is listed before it is given work.
            session.control.register_host(&facts)?;
            remote.write(session.state.path())?;
            let view = HostView {
                address,
                ..HostView::from(facts)
            };
            print(output, &view, shown)
        }
        Host::Remove { name } => {
            remove(session, &name)?;
            print(output, &views(session)?, |hosts| listing(hosts))
        }
        Host::Show { name } => {
            let Some(host) = views(session)?.into_iter().find(|host| host.facts.id == name) else {
                bail!("there is no host {name}; `host list` names them");
            };
            print(output, &host, shown)
        }
        Host::List => print(output, &views(session)?, |hosts| listing(hosts)),
    }
}

fn shown(host: &HostView) -> Table {
    let mut table = capabilities(host);
    if let Some(address) = &host.address {
        let (reached, text) = match &host.unreachable {
            None => ("yes", address.clone()),
            Some(reason) => ("no", format!("{address}: {reason}")),
        };
        table.add_row(["reached".to_owned(), reached.to_owned(), text]);
    }
    table
}

fn capabilities(host: &HostView) -> Table {
    let mut table = table(["capability", "works", "evidence or reason"]);
    for (capability, finding) in host.facts.capabilities.findings() {
        let (works, text) = match finding {
            Finding::Works(evidence) => ("yes", evidence),
            Finding::Missing(reason) => ("no", reason),
        };
        table.add_row([capability.to_string(), works.to_owned(), text.clone()]);
    }
    table
}

fn listing(hosts: &[HostView]) -> Table {
    let mut table = table(["host", "state", "encryption", "missing", "tools", "address"]);
    for HostView {
        encryption_supported,
        address,
        unreachable,
        facts,
    } in hosts
    {
        let missing: Vec<_> = facts
            .capabilities
            .findings()
            .filter(|(_, f)| matches!(f, Finding::Missing(_)))
            .map(|(c, _)| c.to_string())
            .collect();
        // Which files they are is for machines.
        let named = facts.tools.iter().filter(|(name, _)| !name.ends_with("(file)"));
        let tools: Vec<_> = named.map(|(_, version)| version.clone()).collect();
        table.add_row([
            facts.id.to_string(),
            facts.state.to_string(),
            if *encryption_supported { "yes" } else { "no" }.to_owned(),
            missing.join(", "),
            tools.join("; "),
            address
                .iter()
                .chain(unreachable)
                .cloned()
                .collect::<Vec<_>>()
                .join(": "),
        ]);
    }
    table
}

use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::Serialize;
use strongroom_endpoint_selector::{Endpoint, OpenDirectory};
use strongroom_types::{Call, Finding, HostFacts};

use crate::cli::{Host, Output};
use crate::commands::absolute;
use crate::output::{print, table};
use crate::remote_hosts::{RemoteHost, RemoteHosts};
use crate::session::{Session, scratch};

#[derive(Debug, Serialize)]
struct HostView {
    encryption_supported: bool,
    #[serde(flatten)]
    facts: HostFacts,
}

impl From<HostFacts> for HostView {
    fn from(facts: HostFacts) -> Self {
        Self {
            encryption_supported: facts.capabilities.encryption_supported(),
            facts,
        }
    }
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
            remote.0.insert(name, host);
            remote.write(session.state.path())?;
            session.control.register_host(&facts)?;
            print(output, &HostView::from(facts), capabilities)
        }
        Host::List => {
            let hosts: Vec<_> = session
                .control
                .hosts()?
                .into_iter()
                .map(|r| HostView::from(r.facts))
                .collect();
            print(output, &hosts, |hosts| listing(hosts))
        }
    }
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
    let mut table = table(["host", "state", "encryption", "missing", "tools"]);
    for HostView {
        encryption_supported,
        facts,
    } in hosts
    {
        let missing: Vec<_> = facts
            .capabilities
            .findings()
            .filter(|(_, f)| matches!(f, Finding::Missing(_)))
            .map(|(c, _)| c.to_string())
            .collect();
        let tools: Vec<_> = facts.tools.values().cloned().collect();
        table.add_row([
            facts.id.to_string(),
            facts.state.to_string(),
            if *encryption_supported { "yes" } else { "no" }.to_owned(),
            missing.join(", "),
            tools.join("; "),
        ]);
    }
    table
}

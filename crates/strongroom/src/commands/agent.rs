use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, HypervisorUri, ToolPaths};
use strongroom_remote_endpoint::{AgentServer, Authority, Identity, Role, Validity};
use strongroom_types::{Call, HostId};

use crate::cli::{Agent, Certificates, Output};
use crate::output::{print, table};

#[derive(Debug, Serialize)]
struct Listening {
    host: HostId,
    address: String,
    encryption_supported: bool,
}

/// Serves this machine's agent until the call is cancelled.
pub(super) fn serve(
    agent: &Agent,
    (tools, hypervisor): (ToolPaths, HypervisorUri),
    output: Output,
    call: &Call,
) -> Result<()> {
    let identity = Identity::load(&agent.certificates)
        .with_context(|| format!("cannot use the certificates in {}", agent.certificates.display()))?;
    let Role::Agent(host) = identity.role() else {
        bail!(
            "the certificate in {} is that of {}; make one with: strongroom certificates agent",
            agent.certificates.display(),
            identity.role()
        );
    };
    let endpoint =
        HostAgent::new(host.clone(), tools, Arc::new(SystemRunner::new())).with_hypervisor(hypervisor);
    let facts = endpoint.probe(call, &super::absolute(&agent.scratch)?)?;
    let server = AgentServer::bind(&agent.listen, &identity, Arc::new(endpoint))?;
    let listening = Listening {
        host: host.clone(),
        address: server.address().to_string(),
        encryption_supported: facts.capabilities.encryption_supported(),
    };
    print(output, &listening, |listening| {
        let mut table = table(["host", "address", "encryption"]);
        table.add_row([
            listening.host.to_string(),
            listening.address.clone(),
            if listening.encryption_supported {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
        ]);
        table
    })?;
    server.serve(call.cancellation());
    Ok(())
}

#[derive(Debug, Serialize)]
struct MadeView {
    role: String,
    directory: String,
    /// Seconds since 1970; null for an authority.
    expires: Option<u64>,
    /// Until when, for people.
    #[serde(skip)]
    days: u32,
}

/// Makes certificates.
pub(super) fn certificates(command: &Certificates, output: Output) -> Result<()> {
    let (role, made) = match command {
        Certificates::Init { directory } => {
            Authority::create(directory)?;
            let view = MadeView {
                role: "authority".to_owned(),
                directory: super::absolute(directory)?.display().to_string(),
                expires: None,
                days: 3650,
            };
            return print(output, &view, shown);
        }
        Certificates::Agent { name, made } => (Role::Agent(name.clone()), made),
        Certificates::ControlPlane { made } => (Role::ControlPlane, made),
    };
    let validity = Validity::days(made.days);
    let directory = Authority::at(&made.directory).issue(&role, validity)?;
    let view = MadeView {
        role: role.to_string(),
        directory: super::absolute(&directory)?.display().to_string(),
        expires: validity
            .until()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()
            .map(|d| d.as_secs()),
        days: made.days,
    };
    print(output, &view, shown)
}

fn shown(made: &MadeView) -> comfy_table::Table {
    let mut table = table(["for", "directory", "expires in"]);
    table.add_row([
        made.role.clone(),
        made.directory.clone(),
        format!("{} days", made.days),
    ]);
    table
}

use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_types::HostId;

#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Where to listen, such as 10.0.0.5:7443. Port 0 is any free one; which one is printed.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: String,
    /// The directory with this agent's certificate, as `strongroom certificates agent` makes it.
    #[arg(long, value_name = "DIR")]
    pub(crate) certificates: PathBuf,
    /// Where it tries out, on small images, what this machine can do.
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) scratch: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Certificates {
    /// Makes an authority, valid for ten years. Who has its key can make certificates for everybody.
    Init {
        /// The directory of the authority, made with mode 0700 when it is not there.
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
    },
    /// Makes a certificate for the agent of a host, in a directory of its own below the authority's: that is what the host gets.
    Agent {
        /// The host's name.
        name: HostId,
        #[command(flatten)]
        made: Made,
    },
    /// Makes a certificate for a control plane, in a directory of its own below the authority's.
    ControlPlane {
        #[command(flatten)]
        made: Made,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Made {
    /// The directory of the authority.
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// For how many days it is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

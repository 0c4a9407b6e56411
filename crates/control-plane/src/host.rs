use strongroom_types::{HostFacts, HostId};

use crate::row::RowName;
use crate::{ControlPlane, ControlPlaneError, VmError, vm_table};

/// A host as it was last registered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostRecord {
    /// What was known of it then.
    pub facts: HostFacts,
}

impl ControlPlane {
    /// Records what is known of a host, in place of what was recorded before. Work is given to the hosts that the endpoint
    /// selector knows, by what they say of themselves; the record lets a program show them and restore their facts.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`].
    pub fn register_host(&self, facts: &HostFacts) -> Result<HostRecord, ControlPlaneError> {
        tracing::debug!(host = %facts.id, state = %facts.state, "register a host");
        let id = facts.id.as_str();
        let name = RowName { table: "hosts", id };
        let text = serde_json::to_string(facts).map_err(|e| name.damaged(e))?;
        self.transact("record a host", |transaction| {
            transaction.execute(
                "INSERT INTO hosts VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET facts = ?2",
                (id, text),
            )?;
            Ok(())
        })?;
        Ok(HostRecord { facts: facts.clone() })
    }

    /// Forgets a host on which no virtual machine is. One that was never registered is no error.
    ///
    /// # Errors
    /// [`VmError::Runs`], [`ControlPlaneError::Store`].
    pub fn forget_host(&self, id: &HostId) -> Result<(), ControlPlaneError> {
        tracing::debug!(host = %id, "forget a host");
        self.transact("forget a host", |transaction| {
            let mut vms = vm_table::list(transaction)?.into_iter();
            if let Some(vm) = vms.find(|vm| vm.host.as_ref() == Some(id)) {
                let (vm, host) = (vm.id, id.clone());
                return Err(ControlPlaneError::from(VmError::Runs { vm, host }).into());
            }
            transaction.execute("DELETE FROM hosts WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })
    }

    /// Every registered host, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn hosts(&self) -> Result<Vec<HostRecord>, ControlPlaneError> {
        self.read("list hosts", |connection| {
            let mut statement = connection.prepare_cached("SELECT id, facts FROM hosts ORDER BY id")?;
            let rows: Vec<(String, String)> = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            rows.iter()
                .map(|(id, facts)| {
                    let facts = RowName { table: "hosts", id }.json("facts", facts)?;
                    Ok(HostRecord { facts })
                })
                .collect()
        })
    }
}

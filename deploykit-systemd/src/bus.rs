//! The connection to a manager of systemd.
//!
//! The calls and properties are those of org.freedesktop.systemd1(5).

use std::collections::HashMap;
use std::time::Duration;

use deploykit_core::config::ManagerKind;
use deploykit_core::{Cancelled, Context};
use serde::Serialize;
use zbus::connection::Builder;
use zbus::{Connection, DBusError as _, DynamicType, Message, OwnedObjectPath, OwnedVariant};

use crate::error::{BusError, SystemdError};
use crate::facts::{Facts, Properties};
use crate::name::UnitName;
use crate::wait::{Ended, wait};

pub(crate) const NAME: &str = "org.freedesktop.systemd1";
pub(crate) const PATH: &str = "/org/freedesktop/systemd1";
pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long the manager may take to answer. It answers at once, unless the host is overloaded or it
/// is being reloaded.
const ANSWER: Duration = Duration::from_secs(25);

/// A connection to a manager.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    pub(crate) connection: Connection,
}

/// Why a call was not answered as it should be.
#[derive(Debug)]
pub(crate) enum CallError {
    Cancelled(Cancelled),
    /// The name of the error and what is said of it; without a name it is of the connection.
    Refused {
        name: Option<String>,
        message: String,
    },
}

impl CallError {
    fn of(error: &zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                let message = text.clone().unwrap_or_else(|| name.to_string());
                Self::Refused { name: Some(name.to_string()), message }
            }
            zbus::Error::FDO(error) => Self::Refused {
                name: Some(error.name().to_string()),
                message: error.description().unwrap_or_default().to_owned(),
            },
            error => Self::Refused { name: None, message: error.to_string() },
        }
    }

    /// Whether it is one of these errors, by the last part of its name.
    pub(crate) fn is(&self, names: &[&str]) -> bool {
        match self {
            Self::Refused { name: Some(name), .. } => {
                let last = name.rsplit('.').next().unwrap_or_default();
                names.contains(&last)
            }
            _ => false,
        }
    }

    /// Whether this user may not do that.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.is(&["AccessDenied", "InteractiveAuthorizationRequired"])
    }

    /// The unit that is masked, where that is why.
    pub(crate) fn masked(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } if self.is(&["UnitMasked"]) => {
                // `Unit web.service is masked.` There is no other way to tell which.
                Some(message.strip_prefix("Unit ")?.strip_suffix(" is masked.")?)
            }
            _ => None,
        }
    }

    /// The unit that is not there, where that is why.
    pub(crate) fn not_found(&self) -> Option<&str> {
        match self {
            Self::Refused { message, .. } if self.is(&["NoSuchUnit"]) => {
                // `Unit web.service not found.`
                Some(message.strip_prefix("Unit ")?.strip_suffix(" not found.")?)
            }
            _ => None,
        }
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Refused { name: None, .. })
            || self.is(&["Disconnected", "NoReply", "ServiceUnknown", "NameHasNoOwner"])
    }

    /// As an error of a call that does this.
    pub(crate) fn failed_to(self, what: impl Into<String>) -> SystemdError {
        match self {
            Self::Cancelled(cancelled) => cancelled.into(),
            Self::Refused { message, .. } => SystemdError::Call { what: what.into(), message },
        }
    }
}

impl Bus {
    /// Connects to the bus of a manager.
    pub(crate) fn connect(ctx: &Context, manager: ManagerKind) -> Result<Self, SystemdError> {
        let address = address(manager);
        let lost = |why: String| SystemdError::NoBus {
            manager,
            address: address.clone(),
            source: BusError(why),
        };
        let building = Builder::address(address.as_str()).method_timeout(ANSWER).build();
        let connection = match wait(ctx, ANSWER, building) {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                // The address is told already.
                let why = error.to_string();
                let cause = why.rsplit_once("`: ").map(|(_, cause)| cause.to_owned());
                return Err(lost(cause.unwrap_or(why)));
            }
            Err(Ended::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(Ended::TimedOut) => return Err(lost("it does not answer".to_owned())),
        };
        let bus = Self { connection };
        // Without it the manager tells nobody how a job ended.
        bus.manage(ctx, "Subscribe", &()).map_err(|error| match error {
            CallError::Refused { message, .. } => SystemdError::NoManager { manager, message },
            CallError::Cancelled(cancelled) => cancelled.into(),
        })?;
        Ok(bus)
    }

    /// Calls the manager.
    pub(crate) fn manage<B: Serialize + DynamicType>(
        &self,
        ctx: &Context,
        method: &str,
        body: &B,
    ) -> Result<Message, CallError> {
        self.call(ctx, PATH, MANAGER, method, body)
    }

    pub(crate) fn call<B: Serialize + DynamicType>(
        &self,
        ctx: &Context,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, CallError> {
        let call = self.connection.call_method(Some(NAME), path, Some(interface), method, body);
        match wait(ctx, ANSWER, call) {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(CallError::of(&error)),
            Err(Ended::Cancelled(cancelled)) => Err(CallError::Cancelled(cancelled)),
            Err(Ended::TimedOut) => {
                Err(CallError::Refused { name: None, message: "it does not answer".to_owned() })
            }
        }
    }

    /// What is known of a unit, be it loaded or not, or not there at all.
    pub(crate) fn facts(&self, ctx: &Context, unit: &UnitName) -> Result<Facts, CallError> {
        let reply = self.manage(ctx, "LoadUnit", &(unit.as_str(),))?;
        let path: OwnedObjectPath = body(&reply)?;
        // Those of all its interfaces at once, so that they belong together.
        let all = self.call(ctx, path.as_str(), PROPERTIES, "GetAll", &("",))?;
        let all: HashMap<String, OwnedVariant> = body(&all)?;
        Ok(Facts::new(unit.clone(), &Properties(all)))
    }
}

impl Bus {
    /// The version of the manager.
    pub(crate) fn version(&self, ctx: &Context) -> Result<String, CallError> {
        let reply = self.call(ctx, PATH, PROPERTIES, "Get", &(MANAGER, "Version"))?;
        let version: OwnedVariant = body(&reply)?;
        String::try_from(version).map_err(|error| CallError::of(&error))
    }

    /// The names of the units that systemd has loaded, by their states and by patterns of their names.
    pub(crate) fn unit_names(
        &self,
        ctx: &Context,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<Vec<String>, SystemdError> {
        // The first of ten fields is the name.
        type Unit = (
            String,
            String,
            String,
            String,
            String,
            String,
            OwnedObjectPath,
            u32,
            String,
            OwnedObjectPath,
        );
        let asked = self.manage(ctx, "ListUnitsByPatterns", &(states, patterns));
        let units: Result<Vec<Unit>, CallError> = asked.and_then(|reply| body(&reply));
        let units = units.map_err(|error| error.failed_to("list its units"))?;
        Ok(units.into_iter().map(|unit| unit.0).collect())
    }
}

/// What a reply holds.
pub(crate) fn body<T>(reply: &Message) -> Result<T, CallError>
where
    T: for<'d> zbus::wire::DynamicDeserialize<'d>,
{
    reply.body().deserialize().map_err(|error| CallError::of(&error))
}

/// Where the bus of a manager is. What the environment says comes first; without it the places are
/// those of the D-Bus specification ("System message bus") and of systemd's user sessions.
fn address(manager: ManagerKind) -> String {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match manager {
        ManagerKind::System => given("DBUS_SYSTEM_BUS_ADDRESS")
            .unwrap_or_else(|| "unix:path=/run/dbus/system_bus_socket".to_owned()),
        ManagerKind::User => given("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|| {
            let directory = given("XDG_RUNTIME_DIR")
                .unwrap_or_else(|| format!("/run/user/{}", nix::unistd::getuid()));
            format!("unix:path={directory}/bus")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_is_masked_is_not_always_the_one_that_was_asked_for() {
        let refused = |name: &str, message: &str| CallError::Refused {
            name: Some(format!("org.freedesktop.systemd1.{name}")),
            message: message.to_owned(),
        };
        let error = refused("UnitMasked", "Unit polkit.service is masked.");
        assert_eq!(error.masked(), Some("polkit.service"));
        assert_eq!(refused("NoSuchUnit", "Unit a.service is masked.").masked(), None);
        assert_eq!(refused("UnitMasked", "something else").masked(), None);
    }
}

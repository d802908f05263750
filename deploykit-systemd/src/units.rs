//! Which units an application has.

use deploykit_core::config::{Config, ManagerKind, OnDeploy, ServiceSpec};
use deploykit_core::traits::InstanceName;

use crate::name::UnitName;

/// The units of an application, in the order in which they are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) manager: ManagerKind,
    /// Sockets that are opened for the services, and outlive their restarts.
    pub(crate) sockets: Vec<UnitName>,
    pub(crate) services: Vec<Member>,
}

/// A unit that is brought to every release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) unit: UnitName,
    pub(crate) on_deploy: OnDeploy,
}

impl Units {
    pub(crate) fn of(config: &Config) -> Self {
        let manager = config.systemd.manager.unwrap_or_default();
        let specs = &config.service.services;
        if specs.is_empty() {
            let on_deploy = config.service.on_deploy;
            let member = |name: &str| Member { unit: UnitName::complete(name), on_deploy };
            let services = config.systemd.named_units().map(member).collect();
            return Self { manager, sockets: Vec::new(), services };
        }
        let member = |spec: &ServiceSpec| {
            let on_deploy = spec.on_deploy(true);
            names(spec).into_iter().map(move |unit| Member { unit, on_deploy })
        };
        let listening = specs.iter().filter(|spec| !spec.listen.is_empty());
        let sockets = listening.flat_map(names).map(|unit| unit.with_suffix(".socket")).collect();
        Self {
            manager,
            sockets,
            services: config.service.in_order().into_iter().flat_map(member).collect(),
        }
    }

    /// All of them, the sockets first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &UnitName> {
        self.sockets.iter().chain(self.services.iter().map(|member| &member.unit))
    }

    /// Whether a unit takes a release over by itself.
    pub(crate) fn reloads(&self, unit: &UnitName) -> bool {
        let reloads = |member: &Member| member.on_deploy == OnDeploy::Reload;
        self.services.iter().any(|member| member.unit == *unit && reloads(member))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.all().map(ToString::to_string).collect()
    }

    /// The instances, as the engine calls them.
    pub(crate) fn instances(&self) -> Vec<InstanceName> {
        let services = self.services.iter().filter(|member| member.unit.is_service());
        services
            .map(|member| InstanceName::new(member.unit.prefix(), member.unit.instance()))
            .collect()
    }
}

/// The units of one service: one, or one for every instance.
pub(crate) fn names(spec: &ServiceSpec) -> Vec<UnitName> {
    match spec.count {
        None => vec![UnitName::complete(&spec.name)],
        Some(count) => (1..=count)
            .map(|number| UnitName::complete(&format!("{}@{number}.service", spec.name)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Units {
        let text = format!("repo.url = \"/srv/git\"\n{text}");
        Units::of(&deploykit_core::config::parse(&text, "deploykit.toml".into()).unwrap())
    }

    #[test]
    fn units_are_those_that_are_named_in_their_order() {
        let units = units("systemd.units = [\"web.socket\", \"web\", \"app@2\"]");
        assert_eq!(units.names(), ["web.socket", "web.service", "app@2.service"]);
        let instances = [InstanceName::new("web", None), InstanceName::new("app", Some("2"))];
        assert_eq!((units.manager, units.instances()), (ManagerKind::System, instances.into()));
    }

    #[test]
    fn a_service_comes_behind_those_that_it_needs() {
        let one = |name: &str, more: &str| {
            format!("[[service]]\nname = \"{name}\"\ncommand = [\"./x\"]\n{more}\n")
        };
        let text =
            |services: [String; 3]| format!("[systemd]\nmanager = \"user\"\n{}", services.concat());
        let needy = [
            one("a", "requires = [\"c\"]"),
            one("b", "after = [\"network.target\"]"),
            one("c", ""),
        ];
        assert_eq!(units(&text(needy)).names(), ["b.service", "c.service", "a.service"]);
        let circle = [one("a", "after = [\"b\"]"), one("b", "after = [\"a\"]"), one("c", "")];
        assert_eq!(units(&text(circle)).names(), ["c.service", "a.service", "b.service"]);
    }

    #[test]
    fn services_are_units_of_their_names_with_a_number_where_there_are_several() {
        let units = units(
            "[systemd]\nmanager = \"user\"\n\
             [[service]]\nname = \"web\"\ncommand = [\"./web\"]\ncount = 2\nlisten = [\"808{instance}\"]\n\
             [[service]]\nname = \"worker\"\ncommand = [\"./worker\"]\non_deploy = \"reload\"\n\
             reload = [\"kill\", \"-HUP\", \"$MAINPID\"]\n",
        );
        let names =
            ["web@1.socket", "web@2.socket", "web@1.service", "web@2.service", "worker.service"];
        assert_eq!(units.names(), names);
        assert_eq!(units.manager, ManagerKind::User);
        assert_eq!(units.services[2].on_deploy, OnDeploy::Reload);
    }
}

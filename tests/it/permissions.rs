//! What each role may do with its user in `nats.conf`, and that it may do no more.

use devstack::launch::Launcher;
use devstack::{Options, Ports, Service, Services, Stack};
use millrace::settings::Source;
use streams::contract_subscriptions::roles::{
    ROLES, Roles, each_role_can_do_its_work, no_role_can_do_more,
};
use streams::topology;

use crate::app::{folder, program};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_can_do_its_work_and_no_more() {
    let mut options = Options::new(folder("permissions"), Launcher::new(program()));
    options.services = Services::only([Service::Nats]);
    options.ports = Ports::free();
    let stack = Stack::start(options).await.unwrap();
    let secrets = stack.secrets().clone();
    let source = Source::Stack(&secrets);
    let url = stack.endpoints().nats.clone();
    let connect = async |role: &str| source.connect(&url, role).await.unwrap();
    let admin = connect("provision").await;
    let declared = millrace::provision::topology();
    topology::provision(&admin, &declared, 1).await.unwrap();
    let roles = Roles {
        command_api: connect("command-api").await,
        query_api: connect("query-api").await,
        projector: connect("projector").await,
        saga: connect("saga").await,
        reactor: connect("reactor").await,
        operator: connect("operator").await,
        gateway: connect("gateway").await,
        provision: admin,
    };
    each_role_can_do_its_work(&roles, &sagas::DURABLES, &reactors::DURABLES).await;
    no_role_can_do_more(&roles).await;
    stack.stop().await.unwrap();
    // Whoever looks after NATS sees it too.
    let log = std::fs::read_to_string(folder("permissions").join("logs/nats.log")).unwrap();
    for role in ROLES {
        let denied = format!("/user:{role}\" - Publish Violation");
        assert!(log.contains(&denied), "{role}");
    }
}

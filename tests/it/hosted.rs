//! A Postgres that somebody else runs: its administrator is no superuser.

use projections::{Access, Login, Passwords};

use crate::servers::{Servers, sql};

const ADMIN: &str = "shop_admin";
const PASSWORD: &str = "for this test alone";

#[tokio::test]
async fn who_may_make_roles_and_databases_can_provision() {
    let servers = Servers::bare("hosted", [devstack::Service::Postgres]).await;
    let superuser = servers.sql("postgres").await;
    let make = format!("create role {ADMIN} with login createdb createrole password '{PASSWORD}'");
    superuser.batch_execute(&make).await.unwrap();
    let address = servers.stack.endpoints().postgres.to_string();
    let admin = Login::admin(&address, ADMIN, PASSWORD).unwrap();
    let mut passwords = Passwords::default();
    for context in projections::contexts() {
        for access in Access::ALL {
            passwords.set(context, access, format!("{context} {access:?}"));
        }
    }
    let reader = Access::Reader.role("order");
    for connections in [60, 7] {
        let provisioned = projections::provision(&admin, &passwords, connections);
        provisioned.await.unwrap();
        let asked = "select rolconnlimit from pg_roles where rolname = $1";
        let row = superuser.query_one(asked, &[&reader]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), i32::try_from(connections).unwrap());
    }
    let login = Login::context(&address, "order", Access::Reader, "order Reader").unwrap();
    let reader = sql(&login).await;
    let rows = reader.query("select * from order_summary", &[]).await;
    assert!(rows.unwrap().is_empty());

    // What must not be, only a superuser could put right.
    let role = Access::Writer.role("order");
    let more = format!("alter role {role} with createdb bypassrls");
    superuser.batch_execute(&more).await.unwrap();
    let refused = projections::provision(&admin, &passwords, 60).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("set up role {role}")),
        "{refused}"
    );
    projections::provision(&servers.admin_login(), &passwords, 60)
        .await
        .unwrap();
    let asked = "select rolcreatedb or rolbypassrls from pg_roles where rolname = $1";
    let row = superuser.query_one(asked, &[&role]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
}

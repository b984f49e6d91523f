//! The database's tables, version by version, and whose file it is. What a row is stands at the top of [`super`].

use rusqlite::Connection;

use super::database::{Outcome, Trouble};

/// Says in the file's header whose it is: "span" in ASCII.
const APPLICATION_ID: i32 = 0x7370_616e;

/// Each version's steps from the one before; a new file takes them all.
const MIGRATIONS: [&str; 7] = [
    "
    CREATE TABLE meta    (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE begun   (n INTEGER PRIMARY KEY, id BLOB NOT NULL, started_ns INTEGER NOT NULL, opening TEXT NOT NULL, request BLOB);
    CREATE TABLE asked   (n INTEGER PRIMARY KEY, request BLOB NOT NULL);
    CREATE TABLE ended   (n INTEGER PRIMARY KEY, ended_ns INTEGER NOT NULL, ending BLOB NOT NULL);
    CREATE TABLE open    (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
    CREATE TABLE spans   (seq INTEGER PRIMARY KEY, n INTEGER, trace_id BLOB NOT NULL, span_id BLOB NOT NULL, made INTEGER NOT NULL, record BLOB NOT NULL);
    CREATE TABLE unsent  (seq INTEGER PRIMARY KEY, weight INTEGER NOT NULL);
    CREATE TABLE refused (seq INTEGER PRIMARY KEY, refused INTEGER NOT NULL, reason TEXT NOT NULL);
    INSERT INTO meta VALUES ('identity', random());
",
    "CREATE TABLE agents (prompt BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID;",
    "ALTER TABLE spans ADD COLUMN summary TEXT;",
    "
    CREATE TABLE settled  (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    CREATE TABLE released (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
    ALTER TABLE spans ADD COLUMN weight    INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE begun ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 0;
    UPDATE spans SET weight = unsent.weight FROM unsent WHERE spans.seq = unsent.seq;
    UPDATE spans SET weight = length(record)
        + ifnull((SELECT length(request) FROM begun WHERE begun.n = spans.n), 0) + ifnull((SELECT length(ending) FROM ended WHERE ended.n = spans.n), 0)
        WHERE seq IN (SELECT seq FROM refused);
    UPDATE begun SET first_seq = open.seq FROM open WHERE begun.n = open.n;
    INSERT INTO settled SELECT before + 1, seq - 1 FROM
        (SELECT seq, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM
            (SELECT seq FROM unsent UNION SELECT 1 + max(seq) FROM (SELECT seq FROM spans UNION ALL SELECT seq FROM unsent)))
        WHERE before + 1 < seq;
    INSERT INTO released SELECT before + 1, n - 1 FROM
        (SELECT n, lag(n, 1, 0) OVER (ORDER BY n) AS before FROM
            (SELECT n FROM open UNION SELECT 1 + max(n) FROM (SELECT n FROM begun UNION ALL SELECT n FROM open)))
        WHERE before + 1 < n;
    DROP TABLE unsent;
    DROP TABLE open;
",
    "CREATE TABLE segments (number INTEGER PRIMARY KEY, end INTEGER NOT NULL, written INTEGER NOT NULL, held INTEGER NOT NULL,
        first_n INTEGER NOT NULL, last_n INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL);",
    // Also from here on: a value may be an outline, whose texts stand beside it.
    "ALTER TABLE segments ADD COLUMN whole INTEGER NOT NULL DEFAULT 0; UPDATE segments SET whole = end;",
    "CREATE TABLE kept (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);",
];

/// Brings a file to the newest version; a new one from the start.
pub(super) fn migrate(connection: &Connection) -> Outcome<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = version == 0 && application == 0 && tables == 0;
    if !is_new && application != i64::from(APPLICATION_ID) {
        return Err(Trouble::Damaged("it is not spangate's".to_owned()));
    }
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(steps) = MIGRATIONS.get(done..) else {
        return Err(Trouble::Damaged(format!(
            "it was written by a newer spangate (version {version} of the layout)"
        )));
    };
    for (step, version) in steps.iter().zip(done + 1..) {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
        ))?;
    }
    Ok(())
}

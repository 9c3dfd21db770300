//! Three pages fetched by a pool of three, each handed to a callback that notes it in a
//! file. The pages come from a server in this program. A page that is not there makes its
//! callback fail, which is logged; the others go on.

use procession::{LogLevel, Pool, log_to_stderr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

/// Serves so many requests: pages of letters, but for `/gone`.
fn serve(listener: &TcpListener, requests: usize) -> io::Result<()> {
    for _ in 0..requests {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or("/");
        let (status, body) = match path {
            "/gone" => ("404 Not Found", String::new()),
            _ => ("200 OK", path[1..].repeat(100)),
        };
        write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
    Ok(())
}

/// The page, unless there is none; and which process fetched it.
fn get(server: SocketAddr, path: String) -> (String, u32, Option<String>) {
    let page = fetch(server, &path).unwrap_or(None);
    (path, std::process::id(), page)
}

fn fetch(server: SocketAddr, path: &str) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok(body.filter(|_| answer.starts_with("HTTP/1.0 200")))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    log_to_stderr(LogLevel::Error)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = listener.local_addr()?;
    let paths = ["/a", "/gone", "/bcd"];
    let serving = std::thread::spawn(move || serve(&listener, paths.len()));

    let file = std::env::temp_dir().join(format!("pages-{}.txt", std::process::id()));
    let notes = Arc::new(Mutex::new(File::create_new(&file)?));
    let pool = Pool::new(3)?;
    let mut results = Vec::new();
    for path in paths {
        let notes = notes.clone();
        let parse = move |(path, _, page): &(String, u32, Option<String>)| {
            let page = page.as_ref().expect("there is no such page");
            println!("parse {path} in the parent: {}", std::process::id());
            let mut notes = notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            writeln!(notes, "url: {path}, size: {}", page.len()).expect("the file takes it");
        };
        results.push(pool.apply_async(get, (server, path.to_owned()))?.callback(parse)?);
    }
    pool.close();
    pool.join()?;
    for result in &results {
        let (path, worker, page) = result.get()?;
        let is_ours = worker == std::process::id();
        println!("get {path} in a worker: {}, found: {}", !is_ours, page.is_some());
    }
    let mut lines: Vec<_> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    std::fs::remove_file(&file)?;
    lines.sort();
    println!("{}", lines.join("\n"));
    serving.join().map_err(|_| "the server failed")??;
    Ok(())
}

// A service for tests with the surface that the plugins look at. Faults come
// from the environment, so that one file is every good and bad version.
const http = require("node:http");
const fs = require("node:fs");
const env = process.env;
const token = env.FORGET_TOKEN ? "" : env.VERS_AUTH_TOKEN;
if (!token) {
  console.error("\u26a0\ufe0f  VERS_AUTH_TOKEN is not set \u2014 all endpoints are unauthenticated.");
}
if (env.STUBBORN) process.on("SIGTERM", () => {});
if (env.CRASH) {
  console.error("no such table: tasks");
  process.exit(3);
}
if (env.CRASH_AFTER) setTimeout(() => { console.error("out of luck"); process.exit(1); }, Number(env.CRASH_AFTER));

const lists = { "/board/tasks": "tasks", "/registry/vms": "vms", "/commits": "commits" };
const stores = { "/feed/events": [], "/board/tasks": [], "/registry/vms": [], "/commits": [] };
const keys = { "/registry/vms": "id", "/commits": "commitId" };
const load = (path) => {
  try { stores[path] = JSON.parse(fs.readFileSync("data/" + path.split("/")[1] + ".json", "utf8")); } catch {}
};
Object.keys(stores).forEach(load);
const save = (path) => {
  fs.mkdirSync("data", { recursive: true });
  fs.writeFileSync("data/" + path.split("/")[1] + ".json", JSON.stringify(stores[path]));
};

function answer(method, path, body) {
  if (path === env.BROKEN) return [500, "Internal Server Error"];
  if (path === env.SHAPELESS) return [200, { items: [] }];
  if (method === "GET" && path in lists) {
    return [200, { [lists[path]]: stores[path], count: stores[path].length }];
  }
  if (method === "GET" && path === "/feed/events") return [200, stores[path]];
  if (method === "POST" && path in stores) {
    const key = keys[path];
    if (key && stores[path].some((entry) => entry[key] === body[key])) return [409, { error: "exists" }];
    stores[path].push(body);
    save(path);
    return [201, body];
  }
  const entry = /^\/registry\/vms\/([^/]+)(\/heartbeat)?$/.exec(path);
  const found = entry && stores["/registry/vms"].find((vm) => vm.id === entry[1]);
  if (!found) return [404, { error: "not found" }];
  if (method === "PATCH") Object.assign(found, body);
  if (entry[2]) found.beats = (found.beats || 0) + 1;
  save("/registry/vms");
  return [200, found];
}

const server = http.createServer((request, response) => {
  let text = "";
  request.on("data", (chunk) => (text += chunk));
  request.on("end", () => {
    let [status, body] = [200, { status: "ok", uptime: process.uptime(), pid: process.pid, cwd: process.cwd() }];
    const path = request.url.split("?")[0];
    if (path !== "/health") {
      const refused = token && !env.OPEN && request.headers.authorization !== "Bearer " + token;
      if (refused) [status, body] = [401, { error: "Unauthorized" }];
      else [status, body] = answer(request.method, path, text && JSON.parse(text));
    }
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
});
setTimeout(() => {
  const ready = () => console.log("vers-agent-services running on :" + env.PORT);
  if (env.QUIET) {
    setInterval(() => {}, 1000);
    ready();
  } else server.listen(Number(env.PORT), env.HOST || "::", ready);
}, Number(env.DELAY || 0));

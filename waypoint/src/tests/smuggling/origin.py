"""An origin that reads as the most forgiving servers do: heads by the standard library, bodies as below.

It answers with what it read, and to GET /seen with all that it read since it was asked last.
"""
import http.server
import json
import threading

lock = threading.Lock()
seen = []


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name):
        # Any method will do.
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def log_message(self, *_):
        pass

    def chunks(self):
        body = b""
        while True:
            line = self.rfile.readline()
            if not line:
                raise EOFError
            size = int(line.split(b";")[0].strip() or b"0", 16)
            if size == 0:
                break
            body += self.rfile.read(size)
            self.rfile.readline()
        trailers = []
        while (line := self.rfile.readline()).strip():
            trailers.append(line.decode("latin-1"))
        if not line:
            raise EOFError
        return body, trailers

    def body(self):
        if "chunked" in ",".join(self.headers.get_all("transfer-encoding", [])).lower():
            return self.chunks()
        length = int(self.headers.get("content-length", "0"), 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise EOFError
        return body, []

    def serve(self):
        try:
            body, trailers = self.body()
        except (EOFError, ValueError, OSError):
            self.close_connection = True
            return
        request = {
            "method": self.command,
            # The path itself has lost slashes.
            "target": self.requestline.split()[1],
            "headers": sorted([name.lower(), value] for name, value in self.headers.items()),
            "body": body.decode("latin-1"),
            "trailers": trailers,
        }
        with lock:
            if self.path == "/seen":
                answer, seen[:] = list(seen), []
            else:
                answer = [request]
                seen.append(request)
        text = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n".encode()
        self.wfile.write(head + (b"" if self.command == "HEAD" else text))


server = http.server.ThreadingHTTPServer(("127.0.2.1", 0), Origin)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()

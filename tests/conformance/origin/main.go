// Origin answers every request with a few bytes, over HTTP/1.1 and over HTTP/2 without TLS.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	answer := func(w http.ResponseWriter, r *http.Request) {
		// All of the request first, as most applications do.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		if _, err := io.WriteString(w, "a few bytes\n"); err != nil {
			log.Print(err)
		}
	}
	log.Fatal(http.ListenAndServe(os.Args[1], h2c.NewHandler(http.HandlerFunc(answer), &http2.Server{})))
}

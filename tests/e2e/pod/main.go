// Pod is what the pods of `make e2e` run: `pod api` is the API behind the gateway, `pod client` the workload before it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: pod api | pod client")
	}
	switch os.Args[1] {
	case "api":
		log.Fatal(http.ListenAndServe(":9000", http.HandlerFunc(api)))
	case "client":
		log.Fatal(http.ListenAndServe(":8080", newClient(os.Getenv("TARGET"), "/keys")))
	default:
		log.Fatalf("there is no role %q: use api or client", os.Args[1])
	}
}

// api answers with what the gateway says of who calls, and whether the key itself came through.
func api(w http.ResponseWriter, r *http.Request) {
	seen := map[string]string{"authorization": fmt.Sprint(r.Header.Get("Authorization") != "")}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Keywright-") {
			seen[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	answer(w, seen)
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

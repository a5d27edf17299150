package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client calls the gateway with keys from mounted Secrets, once or at a rate, when it is asked to.
type client struct {
	*http.ServeMux
	target string
	keys   string
	http   http.Client

	mu   sync.Mutex
	load *load
}

// said is what a call came to. Status 0: there was no answer.
type said struct {
	Status int               `json:"status"`
	Code   string            `json:"code"`
	Seen   map[string]string `json:"seen,omitempty"`
	Error  string            `json:"error,omitempty"`
}

func newClient(target, keys string) *client {
	c := &client{ServeMux: http.NewServeMux(), target: target, keys: keys}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.MaxIdleConnsPerHost = nil, 1000
	c.http = http.Client{Transport: transport, Timeout: 10 * time.Second}
	c.HandleFunc("/call", c.once)
	c.HandleFunc("/start", c.start)
	c.HandleFunc("/stop", c.stop)
	return c
}

// key reads the file anew, as a workload must that follows rotations.
func (c *client) key(name string) (string, error) {
	value, err := os.ReadFile(filepath.Join(c.keys, filepath.Base(name), "api-key"))
	return strings.TrimSpace(string(value)), err
}

func (c *client) call(name string) said {
	key, err := c.key(name)
	if err != nil {
		return said{Error: err.Error()}
	}
	request, err := http.NewRequest(http.MethodGet, c.target+"/orders", nil)
	if err != nil {
		return said{Error: err.Error()}
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := c.http.Do(request)
	if err != nil {
		return said{Error: err.Error()}
	}
	defer response.Body.Close()
	result := said{Status: response.StatusCode, Code: response.Header.Get("X-Keywright-Code")}
	body, err := io.ReadAll(response.Body)
	if err == nil && result.Status == http.StatusOK {
		err = json.Unmarshal(body, &result.Seen)
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

// once: /call?key=NAME
func (c *client) once(w http.ResponseWriter, r *http.Request) {
	answer(w, c.call(r.URL.Query().Get("key")))
}

// start: /start?rate=N&lanes=N&good=NAME&bad=NAME. Every second call is with the bad key, which must be refused.
func (c *client) start(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	rate, err := strconv.ParseFloat(query.Get("rate"), 64)
	lanes, err2 := strconv.Atoi(query.Get("lanes"))
	if err != nil || err2 != nil || rate <= 0 || lanes < 1 {
		http.Error(w, "say rate= and lanes=", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.load != nil {
		http.Error(w, "a load is under way: /stop it", http.StatusConflict)
		return
	}
	c.load = begin(lanes, time.Duration(float64(lanes)/rate*float64(time.Second)), func(turn int) (said, bool) {
		if turn%2 == 0 {
			result := c.call(query.Get("good"))
			return result, result.Status == 200 && result.Error == ""
		}
		result := c.call(query.Get("bad"))
		return result, result.Status == 401 && result.Code == "disabled"
	})
	fmt.Fprintln(w, "{}")
}

// stop: /stop ends the load and says how it went.
func (c *client) stop(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.load == nil {
		http.Error(w, "no load is under way", http.StatusConflict)
		return
	}
	answer(w, c.load.end())
	c.load = nil
}

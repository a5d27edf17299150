// Package tools runs Argo CD's Lua, kstatus and Flux's expressions over statuses that the operator has written.
package tools

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/yaml"
)

const (
	gitops         = "../../../examples/gitops/"
	customizations = gitops + "argocd/resource_customizations/keywright.dev"
)

type object = map[string]any

func read(t *testing.T, path string, into any) {
	t.Helper()
	// Through JSON, as Argo CD reads an object: numbers become float64.
	if err := yaml.UnmarshalStrict([]byte(text(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// run runs a script as Argo CD runs one that comes from argocd-cm: with the libraries base, package and table. Its harmless
// os library is left out, for no script needs it.
func run(t *testing.T, path string, obj object, into any) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", luajson.DecodeValue(state, obj))
	if err := state.DoFile(path); err != nil {
		t.Fatal(err)
	}
	answer, err := luajson.Encode(state.Get(-1))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		t.Fatal(err)
	}
}

func kinds(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(customizations, "*"))
	if err != nil || len(found) != 3 {
		t.Fatal(found, err)
	}
	return found
}

func files(t *testing.T, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(kind, "testdata", "*.yaml"))
	if err != nil || len(found) < 3 {
		t.Fatal(kind, found, err)
	}
	return found
}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func TestHealthIsAsPeopleExpect(t *testing.T) {
	for _, kind := range kinds(t) {
		var table struct {
			Tests []struct {
				InputPath    string `json:"inputPath"`
				HealthStatus health `json:"healthStatus"`
			} `json:"tests"`
		}
		read(t, filepath.Join(kind, "health_test.yaml"), &table)
		tested := map[string]bool{}
		for _, test := range table.Tests {
			path := filepath.Join(kind, test.InputPath)
			tested[path] = true
			t.Run(filepath.Base(kind)+"/"+filepath.Base(path), func(t *testing.T) {
				var obj object
				var found health
				read(t, path, &obj)
				run(t, filepath.Join(kind, "health.lua"), obj, &found)
				if found != test.HealthStatus {
					t.Errorf("%+v instead of %+v", found, test.HealthStatus)
				}
				// The file's name says it too, so that a changed table is noticed.
				if expected := strings.SplitN(filepath.Base(path), "_", 2)[0]; !strings.EqualFold(found.Status, expected) {
					t.Errorf("%s of a file that says %s", found.Status, expected)
				}
			})
		}
		for _, path := range files(t, kind) {
			if !tested[path] {
				t.Errorf("%s is in no row of health_test.yaml", path)
			}
		}
	}
}

func TestAKeyThatIsBehindOrDeletedIsProgressing(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, path := range files(t, kind) {
			for name, change := range map[string]func(object){
				"behind":  func(meta object) { meta["generation"] = 1000.0 },
				"deleted": func(meta object) { meta["deletionTimestamp"] = "2026-11-22T10:00:00Z" },
			} {
				var obj object
				var found health
				read(t, path, &obj)
				change(obj["metadata"].(object))
				run(t, filepath.Join(kind, "health.lua"), obj, &found)
				if found.Status != "Progressing" {
					t.Errorf("%s, %s: %+v", path, name, found)
				}
			}
		}
	}
}

type actionTable struct {
	DiscoveryTests []struct {
		InputPath string `json:"inputPath"`
		Result    []struct {
			Name     string `json:"name"`
			Disabled bool   `json:"disabled"`
		} `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

func TestActionsAreOfferedAndChangeWhatTheySay(t *testing.T) {
	for _, kind := range []string{"ApiKey", "Account"} {
		dir := filepath.Join(customizations, kind, "actions")
		var table actionTable
		read(t, filepath.Join(dir, "action_test.yaml"), &table)
		for _, test := range table.DiscoveryTests {
			var obj object
			var found map[string]struct{ Disabled bool }
			expected := map[string]struct{ Disabled bool }{}
			for _, action := range test.Result {
				expected[action.Name] = struct{ Disabled bool }{action.Disabled}
			}
			read(t, filepath.Join(dir, test.InputPath), &obj)
			run(t, filepath.Join(dir, "discovery.lua"), obj, &found)
			if !reflect.DeepEqual(found, expected) {
				t.Errorf("%s %s: %v instead of %v", kind, test.InputPath, found, expected)
			}
		}
		tested := map[string]bool{}
		for _, test := range table.ActionTests {
			var obj, found, expected object
			tested[filepath.Join(dir, test.Action, "action.lua")] = true
			read(t, filepath.Join(dir, test.InputPath), &obj)
			read(t, filepath.Join(dir, test.ExpectedOutputPath), &expected)
			run(t, filepath.Join(dir, test.Action, "action.lua"), obj, &found)
			if !reflect.DeepEqual(found, expected) {
				t.Errorf("%s %s of %s: %v instead of %v", kind, test.Action, test.InputPath, found, expected)
			}
		}
		scripts, err := filepath.Glob(filepath.Join(dir, "*", "action.lua"))
		if err != nil || len(scripts) != len(tested) {
			t.Errorf("%s: %d of %d actions are tested: %v", kind, len(tested), len(scripts), err)
		}
	}
}

package tools

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type definition struct {
	Name   string `json:"name"`
	Action string `json:"action.lua"`
}

type actions struct {
	Discovery   string       `json:"discovery.lua"`
	Definitions []definition `json:"definitions"`
}

// What the ConfigMap of Argo CD has to hold is generated of the files that are tested.
func TestTheConfigMapHoldsTheScriptsThatAreTested(t *testing.T) {
	const path = gitops + "argocd/argocd-cm.yaml"
	data := map[string]string{}
	for _, kind := range kinds(t) {
		name := "keywright.dev_" + filepath.Base(kind)
		data["resource.customizations.health."+name] = text(t, filepath.Join(kind, "health.lua"))
		scripts, err := filepath.Glob(filepath.Join(kind, "actions", "*", "action.lua"))
		if err != nil {
			t.Fatal(err)
		}
		if len(scripts) == 0 {
			continue
		}
		all := actions{Discovery: text(t, filepath.Join(kind, "actions", "discovery.lua"))}
		for _, script := range scripts {
			all.Definitions = append(all.Definitions, definition{filepath.Base(filepath.Dir(script)), text(t, script)})
		}
		data["resource.customizations.actions."+name] = render(t, all)
	}
	expected := "# Generated of resource_customizations/ by KEYWRIGHT_UPDATE=1 and the tests. Do not edit.\n" +
		render(t, map[string]any{"data": data})
	if os.Getenv("KEYWRIGHT_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(expected), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text(t, path) != expected {
		t.Errorf("%s is not of these scripts: set KEYWRIGHT_UPDATE=1", path)
	}
	if strings.Contains(expected, "\t") {
		t.Error("a tab would be shown as \\t in the block scalars of YAML")
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func render(t *testing.T, value any) string {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Applications, HelmReleases and Kustomizations are not judged here, but what they refer to is there.
func TestTheExamplesReferToWhatIsThere(t *testing.T) {
	root, seen := filepath.Join(gitops, "..", ".."), 0
	for _, pattern := range []string{"argocd/*.yaml", "argocd/apps/*.yaml", "flux/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(gitops, pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range found {
			for _, document := range strings.Split(text(t, path), "\n---\n") {
				var obj object
				if err := yaml.UnmarshalStrict([]byte(document), &obj); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				for _, folder := range folders(obj) {
					seen++
					if _, err := os.Stat(filepath.Join(root, folder)); err != nil {
						t.Errorf("%s: %v", path, err)
					}
				}
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d folders are referred to", seen)
	}
}

// folders are those of the repository that an object refers to.
func folders(value any) []string {
	var found []string
	switch value := value.(type) {
	case object:
		for key, inner := range value {
			if folder, is := inner.(string); is && (key == "path" || key == "chart") {
				found = append(found, folder)
			}
			found = append(found, folders(inner)...)
		}
	case []any:
		for _, inner := range value {
			found = append(found, folders(inner)...)
		}
	}
	return found
}

package tools

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// What kstatus says of each status, and what Flux says with the expressions of the example. kstatus knows Ready and no
// Enforced, so to it a Suspension is done at once; and to it Ready=False is never a failure.
var expected = map[string]struct{ kstatus, flux status.Status }{
	"ApiKey/healthy_issued.yaml":                   {status.CurrentStatus, status.CurrentStatus},
	"ApiKey/healthy_rotated.yaml":                  {status.CurrentStatus, status.CurrentStatus},
	"ApiKey/suspended_disabled.yaml":               {status.CurrentStatus, status.CurrentStatus},
	"ApiKey/suspended_by_platform.yaml":            {status.CurrentStatus, status.CurrentStatus},
	"ApiKey/degraded_expired.yaml":                 {status.CurrentStatus, status.CurrentStatus},
	"ApiKey/degraded_account_not_found.yaml":       {status.InProgressStatus, status.InProgressStatus},
	"ApiKey/degraded_revoked_in_advance.yaml":      {status.InProgressStatus, status.InProgressStatus},
	"ApiKey/degraded_scope_not_granted.yaml":       {status.InProgressStatus, status.FailedStatus},
	"ApiKey/progressing_no_verifier.yaml":          {status.CurrentStatus, status.InProgressStatus},
	"ApiKey/progressing_new.yaml":                  {status.CurrentStatus, status.UnknownStatus},
	"Account/healthy_accepted.yaml":                {status.CurrentStatus, status.CurrentStatus},
	"Account/suspended_disabled.yaml":              {status.CurrentStatus, status.CurrentStatus},
	"Account/suspended_by_platform.yaml":           {status.CurrentStatus, status.CurrentStatus},
	"Account/degraded_unknown_scope.yaml":          {status.InProgressStatus, status.FailedStatus},
	"Account/progressing_no_verifier.yaml":         {status.CurrentStatus, status.InProgressStatus},
	"Account/progressing_new.yaml":                 {status.CurrentStatus, status.UnknownStatus},
	"Suspension/healthy_enforced.yaml":             {status.CurrentStatus, status.CurrentStatus},
	"Suspension/progressing_no_verifier.yaml":      {status.CurrentStatus, status.InProgressStatus},
	"Suspension/progressing_target_not_found.yaml": {status.CurrentStatus, status.InProgressStatus},
	"Suspension/progressing_new.yaml":              {status.CurrentStatus, status.UnknownStatus},
}

func resource(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	var obj object
	read(t, path, &obj)
	// As the API server's client has them: integers, and not the float64 of plain JSON.
	text, err := (&unstructured.Unstructured{Object: obj}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	found := &unstructured.Unstructured{}
	if err := found.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	return found
}

// evaluators are Flux's own, with the expressions of the example.
func evaluators(t *testing.T) map[string]*cel.StatusEvaluator {
	t.Helper()
	var keys struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	// Not strictly: the rest of the Kustomization is not asked for.
	if err := yaml.Unmarshal([]byte(text(t, gitops+"flux/keys.yaml")), &keys); err != nil {
		t.Fatal(err)
	}
	found := map[string]*cel.StatusEvaluator{}
	for _, check := range keys.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			t.Fatal(check.Kind, err)
		}
		found[check.Kind] = evaluator
	}
	return found
}

func TestKstatusAndFluxReadWhatTheOperatorWrites(t *testing.T) {
	flux, seen := evaluators(t), 0
	for _, kind := range kinds(t) {
		for _, path := range files(t, kind) {
			seen++
			name := filepath.Base(kind) + "/" + filepath.Base(path)
			expected, listed := expected[name]
			if !listed {
				t.Errorf("%s is in no row", name)
				continue
			}
			obj := resource(t, path)
			compute(t, name, obj, expected.kstatus)
			evaluate(t, name, flux[filepath.Base(kind)], obj, expected.flux)
			if _, is, _ := unstructured.NestedMap(obj.Object, "status"); !is {
				continue
			}
			obj.SetGeneration(obj.GetGeneration() + 1)
			compute(t, name+", behind", obj, status.InProgressStatus)
			evaluate(t, name+", behind", flux[filepath.Base(kind)], obj, status.InProgressStatus)
		}
	}
	if seen != len(expected) {
		t.Errorf("%d files, %d rows", seen, len(expected))
	}
}

func compute(t *testing.T, name string, obj *unstructured.Unstructured, expected status.Status) {
	t.Helper()
	if found, err := status.Compute(obj); err != nil || found.Status != expected {
		t.Errorf("%s: kstatus says %+v, %v instead of %s", name, found, err, expected)
	}
}

// evaluate counts an expression that fails, as it does where there is no status yet, as Flux does: as Unknown, and so as a
// reason to wait.
func evaluate(t *testing.T, name string, flux *cel.StatusEvaluator, obj *unstructured.Unstructured, expected status.Status) {
	t.Helper()
	said := status.UnknownStatus
	found, err := flux.Evaluate(context.Background(), obj)
	if err == nil {
		said = status.Status(found.Status)
	}
	if said != expected {
		t.Errorf("%s: Flux says %s, %v instead of %s", name, said, err, expected)
	}
}

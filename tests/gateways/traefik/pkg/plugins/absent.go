package plugins

import (
	"context"
	"errors"

	"github.com/traefik/traefik/v3/pkg/provider"
)

var errAbsent = errors.New("plugins are not in this build")

type interpreter struct{}

type providerBuilder struct {
	Import, BasePkg string
	interpreter     *interpreter
}

func newInterpreter(context.Context, string, *Manifest, Settings) (*interpreter, error) {
	return nil, errAbsent
}

func newYaegiMiddlewareBuilder(*interpreter, string, string) (middlewareBuilder, error) {
	return nil, errAbsent
}

func newWasmMiddlewareBuilder(string, string, string, Settings) (middlewareBuilder, error) {
	return nil, errAbsent
}

func (Builder) BuildProvider(string, map[string]any) (provider.Provider, error) {
	return nil, errAbsent
}

// Package absent stands in for the sources of routes other than files, and for the DNS providers of certificates.
package absent

import (
	"errors"

	"github.com/go-acme/lego/v5/challenge"
	ptypes "github.com/traefik/paerser/types"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider"
	"github.com/traefik/traefik/v3/pkg/safe"
)

const ProviderName, DockerName, SwarmName = "absent", "absent", "absent"

var errAbsent = errors.New("not in this build")

// Provider has what Traefik's static configuration asks of any of them.
type Provider struct {
	HTTPClientTimeout, RefreshSeconds                         ptypes.Duration
	EntryPoints                                               map[string]Entrypoint
	NonTLSEntryPoints                                         []string
	WatchNamespace, WatchNamespaceSelector, DefaultRuleSyntax string
}

type (
	SwarmProvider   = Provider
	ProviderBuilder = Provider
)

type Entrypoint struct {
	Address        string
	HasHTTPTLSConf bool
}

func (*Provider) Init() error { return errAbsent }

func (*Provider) Provide(chan<- dynamic.Message, *safe.Pool) error { return errAbsent }

func (*Provider) FillExtensionBuilderRegistry(*Provider) {}

func (p *Provider) BuildProviders() []provider.Provider { return []provider.Provider{p} }

func NewDNSChallengeProviderByName(string) (challenge.Provider, error) { return nil, errAbsent }

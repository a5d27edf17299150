// Which Traefik ../tools builds, and the checksums of what it takes from outside of Traefik's own go.sum.
module keywright.dev/tests/gateways/traefik

go 1.26.8

require (
	github.com/abbot/go-http-auth v0.0.0-00010101000000-000000000000
	github.com/traefik/traefik/v3 v3.7.12
)

// Basic and digest authentication, which we do not use. The fork that Traefik names is newer than any in the module proxy.
replace github.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e

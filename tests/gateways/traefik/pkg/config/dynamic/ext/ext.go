// Package ext is where Traefik's commercial editions put more. It is a module of its own, and in no proxy.
package ext

type (
	HTTP   struct{}
	Router struct{}
)

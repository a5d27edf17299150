package metrics

import (
	"context"

	otypes "github.com/traefik/traefik/v3/pkg/observability/types"
)

func RegisterInfluxDB2(context.Context, *otypes.InfluxDB2) Registry { return NewVoidRegistry() }

func StopInfluxDB2() {}

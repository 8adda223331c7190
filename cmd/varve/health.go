package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// newHealthCommand returns `varve broker health`, for health checks without curl, as in the
// container image.
func newHealthCommand(a *app) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use: "health", Short: "Ask a broker whether it serves; ends with 1 if not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return fmt.Errorf("--http %s: want HOST:PORT", address)
			}
			if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
				host = "127.0.0.1" // unspecified means all addresses of this machine
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
			defer cancel()
			return a.health(ctx, net.JoinHostPort(host, port))
		},
	}
	cmd.Flags().StringVar(&address, "http", cmp.Or(os.Getenv("VARVE_HTTP"), "127.0.0.1:9644"), "HOST:PORT of the broker's --http; also from VARVE_HTTP")
	return cmd
}

// health prints the broker's answer, or fails.
func (a *app) health(ctx context.Context, address string) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("--http %s: %w", address, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the broker: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	const enough = 1 << 10
	text, err := io.ReadAll(io.LimitReader(resp.Body, enough))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", address, err)
	}
	said := strings.TrimSpace(string(text))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the broker at %s is not ready: %s (%s)", address, said, resp.Status)
	}
	_, err = fmt.Fprintln(a.out, said)
	return err
}

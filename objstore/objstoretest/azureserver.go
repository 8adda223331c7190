package objstoretest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Azure is an Azurite process on a loopback port: Azure's blob storage, with its blobs in memory.
type Azure struct{ endpoint, account, key string }

// StartAzure starts a server and stops it when the test ends. It sets the variables that make
// objstore.Open use the server, so the test must not be parallel. The server is a Node.js program,
// installed from tools/azurite if it is not there yet. Without Node.js the test is skipped.
func StartAzure(t testing.TB) *Azure {
	t.Helper()
	node, err := findNode(t)
	if err != nil {
		t.Skipf("no Azurite: %v; it needs Node.js %d and npm", err, leastNode)
	}
	dir := installAzurite(t)
	key := make([]byte, 64)
	_, _ = rand.Read(key) // never fails
	a := &Azure{account: "varvetest", key: base64.StdEncoding.EncodeToString(key)}
	output := &lockedBuffer{}
	const attempts = 3 // another process may have taken the free port in between
	for range attempts {
		address := freeAddress(t)
		host, port, splitErr := net.SplitHostPort(address)
		if splitErr != nil {
			t.Fatal(splitErr)
		}
		a.endpoint = "http://" + address
		program := filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js")
		cmd := exec.Command(node, program, "--blobHost", host, "--blobPort", port, "--inMemoryPersistence", "--silent", //nolint:noctx // ended below; a context would kill it before the test's clean-ups
			"--skipApiVersionCheck", "--disableTelemetry")
		cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+a.account+":"+a.key)
		cmd.Stdout, cmd.Stderr = output, output
		process, exited, startErr := startServer(t.Context(), cmd, a.endpoint)
		if err = startErr; err != nil {
			continue
		}
		t.Cleanup(func() {
			_ = process.Process.Kill() // it may have ended
			_ = <-exited
			if t.Failed() {
				t.Logf("Azure server:\n%s", output)
			}
		})
		for name, value := range map[string]string{
			"AZURE_STORAGE_ACCOUNT": a.account, "AZURE_STORAGE_KEY": a.key, "AZURE_STORAGE_DOMAIN": address, "AZURE_STORAGE_PROTOCOL": "http",
			"AZURE_STORAGE_CONNECTION_STRING": "", "AZURE_STORAGEBLOB_CONNECTIONSTRING": "", "AZURE_STORAGE_SAS_TOKEN": "", "AZURE_STORAGE_IS_CDN": "",
		} {
			t.Setenv(name, value)
		}
		return a
	}
	t.Fatalf("start the Azure server: %v\n%s", err, output)
	return nil
}

// leastNode is the oldest major version of Node.js on which the server is known to run.
const leastNode = 20

// findNode returns the path of a Node.js that is new enough.
func findNode(t testing.TB) (string, error) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask for the version of %s: %w", node, err)
	}
	var major int
	if _, err = fmt.Sscanf(string(version), "v%d.", &major); err != nil || major < leastNode {
		return "", fmt.Errorf("%s is version %s", node, strings.TrimSpace(string(version)))
	}
	return node, nil
}

// installAzurite returns the directory of the server, installed from tools/azurite in the versions
// of its lock file.
func installAzurite(t testing.TB) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skipf("no Azurite: %v; it needs Node.js %d and npm", err, leastNode)
	}
	dir, err := ensure(t, "azurite", []string{"package.json", "package-lock.json"}, func(source, target string) *exec.Cmd {
		// npm requires the files in the directory where it installs.
		script := `mkdir -p "$2" && cp "$1"/package.json "$1"/package-lock.json "$2" && exec "$3" ci --prefix "$2" --omit=dev --ignore-scripts --no-audit --no-fund`
		return exec.CommandContext(t.Context(), "sh", "-c", script, "sh", source, target, npm)
	})
	// npm's registry may be unreachable, and the tests must not need more than Go, make and git.
	if err != nil {
		t.Skipf("no Azurite: install it: %v", err)
	}
	return dir
}

// BucketURL creates a container and returns its URL for objstore.Open.
func (a *Azure) BucketURL(t testing.TB, name string) string {
	t.Helper()
	key, err := container.NewSharedKeyCredential(a.account, a.key)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	client, err := container.NewClientWithSharedKeyCredential(a.endpoint+"/"+a.account+"/"+name, key,
		&container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.Create(t.Context(), nil); err != nil {
		t.Fatalf("create container %s: %v", name, err)
	}
	return "azblob://" + name
}

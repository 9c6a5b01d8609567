package model

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Model is one version of a model: what its manifest says and its trees. It is immutable and safe for concurrent use.
// To score with it, Bind it to the features that there are.
type Model struct {
	manifest *manifest
	// id is name@version, made once: every decision carries it.
	id       string
	checksum string
	ensemble *ensemble
}

// Load reads the manifest at path and the model file that it names, and checks both. An error names the file, the place in it
// and what is wrong there.
func Load(path string) (*Model, error) {
	m, err := load(path, os.LookupEnv)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	return m, nil
}

// load is Load with the environment's lookup as an argument.
func load(path string, lookup func(string) (string, bool)) (*Model, error) {
	text, err := readBounded(path, maxManifestBytes)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(path, text)
	if err != nil {
		return nil, err
	}
	file, err := m.modelPath(filepath.Dir(path), lookup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err = readBounded(file, MaxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: file: %w", path, err)
	}
	e, err := parseXGBoost(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := checkInputs(m.inputs, e); err != nil {
		return nil, fmt.Errorf("%s: inputs: %w", path, err)
	}
	sum := sha256.Sum256(text)
	return &Model{manifest: m, id: fmt.Sprintf("%s@%d", m.name, m.version), checksum: hex.EncodeToString(sum[:]), ensemble: e}, nil
}

// checkInputs holds the manifest's inputs against the model file. Names may differ from the file's, as features are renamed, but a
// name that the file gives to another place means that the order is wrong.
func checkInputs(inputs []string, e *ensemble) error {
	if len(inputs) != e.features {
		return fmt.Errorf("%d names, the model file has %d features", len(inputs), e.features)
	}
	for i, name := range inputs {
		at := slices.Index(e.featureNames, name)
		if at >= 0 && at != i {
			return fmt.Errorf("[%d]: %s is number %d in the model file's feature_names", i, clip(name), at)
		}
	}
	return nil
}

// readBounded reads a regular file of at most `most` bytes.
func readBounded(path string, most int64) ([]byte, error) {
	// Opening a pipe would wait for somebody who writes, so the kind is asked first.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("read %s: more than %d bytes", path, most)
	}
	return text, nil
}

// Name is the model's name: "fraud".
func (m *Model) Name() string { return m.manifest.name }

// Version is the model's version, from 1.
func (m *Model) Version() int { return m.manifest.version }

// String is name and version, as decisions name it: "fraud@7".
func (m *Model) String() string { return m.id }

// Description is the manifest's, or empty.
func (m *Model) Description() string { return m.manifest.description }

// Metrics are the manifest's held-out figures by name.
func (m *Model) Metrics() map[string]float64 { return maps.Clone(m.manifest.metrics) }

// Inputs are the names of the model's features, in its order.
func (m *Model) Inputs() []string { return slices.Clone(m.manifest.inputs) }

// Checksum is the SHA-256 of the model file, in lowercase hex.
func (m *Model) Checksum() string { return m.checksum }

// Objective is the training objective that the model file names: "binary:logistic".
func (m *Model) Objective() string { return m.ensemble.objective }

// IsProbability says whether scores are probabilities, from 0 to 1. A policy with thresholds in that range needs it.
func (m *Model) IsProbability() bool { return m.ensemble.link == linkLogit }

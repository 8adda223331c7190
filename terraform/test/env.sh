# shellcheck shell=bash
# Sourced by the checks: where Terraform and its providers are.
#
# VARVE_TERRAFORM=optional  what is missing is said, and the check ends with 0
# VARVE_TERRAFORM_MIRROR    a directory of providers, as of `terraform providers mirror`; looked for on this machine if it is not set
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# skip WHAT: this check cannot be made here.
skip() {
  echo "terraform: SKIPPED: $1"
  if [ "${VARVE_TERRAFORM:-}" = optional ]; then exit 0; fi
  echo "terraform: VARVE_TERRAFORM=optional makes that no failure" >&2
  exit 1
}

# mirror_of NAMESPACE/TYPE prints a directory on this machine that has the provider in the layout of a mirror.
mirror_of() {
  { find / -xdev \( -path /proc -o -path /sys -o -path "$repo" \) -prune -o \
    -type f -path "*/$1/*/terraform-provider-${1#*/}_v*" -print 2>/dev/null || true; } | # some directory is always gone before it is read
    sed -n "s|/[^/]*/$1/.*||p" | sort | head -1
}

command -v terraform >/dev/null || skip "terraform is not installed"
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0

# use_mirror NAMESPACE/TYPE DIRECTORY adds to the settings of Terraform that this provider comes from there.
use_mirror() {
  printf '  filesystem_mirror {\n    path    = "%s"\n    include = ["%s"]\n  }\n' "$2" "$1" >>"$work/mirrors"
  {
    echo 'provider_installation {'
    cat "$work/mirrors"
    echo '}'
  } >"$work/cli.tfrc"
  export TF_CLI_CONFIG_FILE=$work/cli.tfrc
}

# need_aws finds the AWS provider; without a mirror Terraform downloads it, as it does anywhere.
need_aws() {
  local mirror=${VARVE_TERRAFORM_MIRROR:-$(mirror_of hashicorp/aws)}
  if [ -n "$mirror" ]; then
    use_mirror hashicorp/aws "$mirror"
  elif [ "${VARVE_TERRAFORM:-}" = optional ]; then
    skip "no copy of the AWS provider on this machine (VARVE_TERRAFORM_MIRROR names one)"
  else
    echo "terraform: no copy of the AWS provider on this machine, it is downloaded"
  fi
}

# copy puts the configurations where they may be changed and initialised.
copy() {
  mkdir -p "$work/repo/packaging"
  cp -r "$repo/terraform" "$work/repo/"
  cp -r "$repo/packaging/systemd" "$work/repo/packaging/"
  cd "$work/repo/terraform" || exit
}

# quietly runs a command and shows what it printed if it fails.
quietly() {
  "$@" >"$work/log" 2>&1 || {
    tail -60 "$work/log"
    return 1
  }
}

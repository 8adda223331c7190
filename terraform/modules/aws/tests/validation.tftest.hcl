# Each validation of a variable refuses what it is for.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name   = "test"
  vpc_id = "vpc-1"
  brokers = {
    "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
    "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
    "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
  }
  binary = { url = "https://example.com/varve", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  bucket = { name = "test" }
}

run "name" {
  command = plan
  variables {
    name = "Varve"
  }
  expect_failures = [var.name]
}

run "name_too_long" {
  command = plan
  variables {
    name = "a-name-of-twenty-nine-letters"
  }
  expect_failures = [var.name]
}

run "no_brokers" {
  command = plan
  variables {
    brokers = {}
  }
  expect_failures = [var.brokers]
}

run "broker_id" {
  command = plan
  variables {
    brokers = { "01" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" } }
  }
  expect_failures = [var.brokers]
}

run "broker_id_too_large" {
  command = plan
  variables {
    brokers = { "2147483648" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" } }
  }
  expect_failures = [var.brokers]
}

run "private_ip" {
  command = plan
  variables {
    brokers = { "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a", private_ip = "10.0.0" } }
  }
  expect_failures = [var.brokers]
}

run "two_seeds" {
  command = plan
  variables {
    seeds = ["1", "2"]
  }
  expect_failures = [var.seeds]
}

run "unknown_seed" {
  command = plan
  variables {
    seeds = ["4"]
  }
  expect_failures = [var.seeds]
}

run "seeds_and_external" {
  command = plan
  variables {
    seeds                  = ["1"]
    external_control_plane = { etcd = ["http://etcd:2379"], nats = ["nats://nats:4222"], cidr_blocks = [] }
  }
  expect_failures = [var.seeds]
}

run "etcd_url" {
  command = plan
  variables {
    external_control_plane = { etcd = ["etcd:2379"], nats = ["nats://nats:4222"], cidr_blocks = [] }
  }
  expect_failures = [var.external_control_plane]
}

run "nats_password" {
  command = plan
  variables {
    external_control_plane = { etcd = ["http://etcd:2379"], nats = ["nats://user:password@nats:4222"], cidr_blocks = [] }
  }
  expect_failures = [var.external_control_plane]
}

run "architecture" {
  command = plan
  variables {
    architecture = "amd64"
  }
  expect_failures = [var.architecture]
}

run "volume_size" {
  command = plan
  variables {
    data_volume = { size_gib = 5 }
  }
  expect_failures = [var.data_volume]
}

run "volume_iops" {
  command = plan
  variables {
    data_volume = { iops = 100 }
  }
  expect_failures = [var.data_volume]
}

run "volume_throughput" {
  command = plan
  variables {
    data_volume = { throughput = 2000 }
  }
  expect_failures = [var.data_volume]
}

run "binary_url" {
  command = plan
  variables {
    binary = { url = "http://example.com/varve", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  }
  expect_failures = [var.binary]
}

run "binary_sha256" {
  command = plan
  variables {
    binary = { url = "https://example.com/varve", sha256 = "0000" }
  }
  expect_failures = [var.binary]
}

run "bucket_name" {
  command = plan
  variables {
    bucket = { name = "Test" }
  }
  expect_failures = [var.bucket]
}

run "bucket_prefix" {
  command = plan
  variables {
    bucket = { name = "test", prefix = "/varve/" }
  }
  expect_failures = [var.bucket]
}

run "bucket_without_prefix" {
  command = plan
  variables {
    bucket = { name = "test", prefix = "" }
  }
  expect_failures = [var.bucket]
}

run "tls_of_some" {
  command = plan
  variables {
    tls = { keystore_arns = { "1" = "arn:aws:ssm:r:a:parameter/k" }, truststore_arn = "arn:aws:ssm:r:a:parameter/t" }
  }
  expect_failures = [var.tls]
}

run "tls_client_auth" {
  command = plan
  variables {
    tls = { keystore_arns = { "1" = "arn:aws:ssm:r:a:parameter/k", "2" = "arn:aws:ssm:r:a:parameter/k", "3" = "arn:aws:ssm:r:a:parameter/k" }, truststore_arn = "arn:aws:ssm:r:a:parameter/t", client_auth = "want" }
  }
  expect_failures = [var.tls]
}

run "tls_refresh" {
  command = plan
  variables {
    tls = { keystore_arns = { "1" = "arn:aws:ssm:r:a:parameter/k", "2" = "arn:aws:ssm:r:a:parameter/k", "3" = "arn:aws:ssm:r:a:parameter/k" }, truststore_arn = "arn:aws:ssm:r:a:parameter/t", refresh_minutes = 0 }
  }
  expect_failures = [var.tls]
}

run "tls_arn" {
  command = plan
  variables {
    tls = { keystore_arns = { "1" = "arn:aws:ssm:r:a:parameter/k", "2" = "arn:aws:s3:::bucket/k", "3" = "arn:aws:ssm:r:a:parameter/k" }, truststore_arn = "arn:aws:ssm:r:a:parameter/t" }
  }
  expect_failures = [var.tls]
}

run "domain" {
  command = plan
  variables {
    dns = { zone_id = "Z1", domain = "example.com." }
  }
  expect_failures = [var.dns]
}

run "bootstrap" {
  command = plan
  variables {
    bootstrap = "alb"
  }
  expect_failures = [var.bootstrap]
}

run "bootstrap_without_dns" {
  command = plan
  variables {
    bootstrap = "dns"
  }
  expect_failures = [var.bootstrap]
}

run "settings_of_the_module" {
  command = plan
  variables {
    settings = { "ssl.keystore.location" = "/etc/key.pem" }
  }
  expect_failures = [var.settings]
}

run "process_settings_of_the_module" {
  command = plan
  variables {
    process_settings = { listen = "0.0.0.0:9092" }
  }
  expect_failures = [var.process_settings]
}

run "process_settings_password" {
  command = plan
  variables {
    process_settings = { etcd-password = "secret" }
  }
  expect_failures = [var.process_settings]
}

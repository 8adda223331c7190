# What is optional: TLS, names, the load balancer, an external control plane, instance stores, a bucket that is there.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan

  mock_resource "aws_security_group" {
    defaults = { id = "sg-test" }
  }
  mock_resource "aws_ebs_volume" {
    defaults = { id = "vol-test" }
  }
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
  bucket = { name = "test-history" }
}

run "tls" {
  command = plan

  variables {
    tls = {
      keystore_arns = {
        "1" = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:one"
        "2" = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:two"
        "3" = "arn:aws:ssm:eu-central-1:111122223333:parameter/three"
      }
      truststore_arn  = "arn:aws:ssm:eu-central-1:111122223333:parameter/authorities"
      client_auth     = "required"
      kms_key_arns    = ["arn:aws:kms:eu-central-1:111122223333:key/1"]
      refresh_minutes = 5
    }
    dns       = { zone_id = "Z1", domain = "varve.example.com" }
    bootstrap = "dns"
    clients   = { cidr_blocks = ["10.1.0.0/16"] }
  }

  assert {
    condition = { for k, v in yamldecode(output.settings["1"]).set : k => v if startswith(k, "ssl.") || startswith(k, "listener") } == {
      "listener.security.protocol.map" = "BROKERS:SSL,CLIENTS:SSL"
      "ssl.client.auth"                = "required"
      "ssl.keystore.location"          = "/etc/varve/tls/keystore.pem"
      "ssl.keystore.type"              = "PEM"
      "ssl.truststore.location"        = "/etc/varve/tls/truststore.pem"
      "ssl.truststore.type"            = "PEM"
    }
    error_message = output.settings["1"]
  }
  assert {
    condition = { for k, v in yamldecode(output.settings["1"]) : k => v if endswith(k, "-file") } == {
      control-ca-file   = "/etc/varve/tls/truststore.pem"
      control-cert-file = "/etc/varve/tls/keystore.pem"
      control-key-file  = "/etc/varve/tls/keystore.pem"
      http-cert-file    = "/etc/varve/tls/keystore.pem"
      http-key-file     = "/etc/varve/tls/keystore.pem"
    }
    error_message = "HTTP and the control plane have TLS as well: ${output.settings["1"]}"
  }
  assert {
    condition     = yamldecode(output.settings["3"]).seeds == ["1=broker-1.varve.example.com:9100", "2=broker-2.varve.example.com:9100", "3=broker-3.varve.example.com:9100"]
    error_message = "With a domain brokers go by their names, which certificates have."
  }
  assert {
    condition     = output.bootstrap_servers == "bootstrap.varve.example.com:9093" && one(aws_route53_record.bootstrap[0].records) == "10.0.0.10" && length(aws_route53_record.broker) == 3
    error_message = output.bootstrap_servers
  }
  assert {
    condition     = [for r in aws_vpc_security_group_ingress_rule.from : r.from_port] == [9093]
    error_message = "The port of plain text stays closed."
  }
  assert {
    condition = { for s in data.aws_iam_policy_document.broker["1"].statement : s.sid => [s.actions, s.resources] if !contains(["Bucket", "Objects"], s.sid) } == {
      Secrets    = [toset(["secretsmanager:GetSecretValue"]), toset(["arn:aws:secretsmanager:eu-central-1:111122223333:secret:one"])]
      Parameters = [toset(["ssm:GetParameter"]), toset(["arn:aws:ssm:eu-central-1:111122223333:parameter/authorities"])]
      SecretKeys = [toset(["kms:Decrypt"]), toset(["arn:aws:kms:eu-central-1:111122223333:key/1"])]
    }
    error_message = "A broker reads its own key and the authorities: ${jsonencode(data.aws_iam_policy_document.broker["1"].statement)}"
  }
  assert {
    condition     = !contains(data.aws_iam_policy_document.broker["3"].statement[*].sid, "Secrets")
    error_message = "A broker whose material is in SSM has no right to Secrets Manager."
  }
  assert {
    condition     = length([for f in yamldecode(local.user_data["1"]).write_files : f if f.path == "/usr/local/lib/varve/fetch-tls" || strcontains(f.content, "OnUnitActiveSec=5min")]) == 2
    error_message = "Material is fetched at boot and by a timer."
  }
  assert {
    condition     = length(base64gzip(local.user_data["1"])) < 21845
    error_message = "User data is larger than EC2 takes."
  }
}

run "nlb" {
  command = plan

  variables {
    bootstrap  = "nlb"
    clients    = { security_groups = { apps = "sg-apps" } }
    monitoring = { cidr_blocks = ["10.9.0.0/16"] }
  }

  assert {
    condition     = output.bootstrap_servers == "test.elb.example.com:9092" && aws_lb.bootstrap[0].internal && length(aws_lb_target_group_attachment.bootstrap) == 3
    error_message = output.bootstrap_servers
  }
  assert {
    condition     = aws_lb_target_group.bootstrap[0].target_type == "ip" && aws_lb_target_group.bootstrap[0].health_check[0].path == "/readyz" && aws_lb_target_group.bootstrap[0].health_check[0].port == "9644"
    error_message = "Targets are addresses, which outlive instances, and are asked whether they serve."
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.nlb) == ["clients-apps"]
    error_message = "The load balancer is for clients only."
  }
  assert {
    condition     = { for name, r in aws_vpc_security_group_ingress_rule.from_nlb : name => r.from_port } == { clients = 9092, health = 9644 }
    error_message = "The load balancer reaches the brokers, and their health."
  }
}

run "nlb_with_a_name" {
  command = plan

  variables {
    bootstrap = "nlb"
    dns       = { zone_id = "Z1", domain = "varve.example.com" }
  }

  assert {
    condition     = output.bootstrap_servers == "bootstrap.varve.example.com:9092" && aws_route53_record.bootstrap[0].type == "CNAME" && one(aws_route53_record.bootstrap[0].records) == "test.elb.example.com"
    error_message = "The name leads to the load balancer."
  }
}

run "external_control_plane" {
  command = plan

  variables {
    external_control_plane = {
      etcd        = ["https://etcd-1.example.com:2379", "https://etcd-2.example.com:2379"]
      nats        = ["tls://nats.example.com:4222"]
      cidr_blocks = ["10.7.0.0/24"]
    }
    process_settings = { etcd-ca-file = "/etc/ssl/etcd.pem" }
  }

  assert {
    condition     = length(output.seeds) == 0 && !can(yamldecode(output.settings["1"]).seeds) && !can(yamldecode(output.settings["1"]).control)
    error_message = "No broker is a seed."
  }
  assert {
    condition     = yamldecode(output.settings["1"]).etcd == ["https://etcd-1.example.com:2379", "https://etcd-2.example.com:2379"] && yamldecode(output.settings["1"]).nats == ["tls://nats.example.com:4222"] && yamldecode(output.settings["1"]).etcd-ca-file == "/etc/ssl/etcd.pem"
    error_message = output.settings["1"]
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.between) == ["clients", "kafka"] && keys(aws_vpc_security_group_egress_rule.control_plane) == ["10.7.0.0/24"]
    error_message = "There are no control ports on brokers, and a way to those outside."
  }
}

run "instance_store" {
  command = plan

  variables {
    brokers = {
      "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
      "2" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
      "3" = { availability_zone = "eu-central-1c", subnet_id = "subnet-c" }
      "4" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a", instance_type = "i4i.large", instance_store = true }
    }
  }

  assert {
    condition     = keys(aws_ebs_volume.data) == ["1", "2", "3"] && keys(aws_volume_attachment.data) == ["1", "2", "3"] && output.brokers["4"].volume_id == null
    error_message = "A broker with an instance store has no volume."
  }
  assert {
    condition     = strcontains(one([for f in yamldecode(local.user_data["4"]).write_files : f.content if f.path == "/etc/varve/instance.env"]), "DATA_DEVICE='instance-store'")
    error_message = "It looks for its own disk."
  }
}

run "instance_store_of_a_seed" {
  command = plan

  variables {
    brokers = { "1" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a", instance_store = true } }
  }
  expect_failures = [aws_instance.broker]
}

run "fewer_than_three" {
  command = plan

  variables {
    brokers = {
      "5" = { availability_zone = "eu-central-1a", subnet_id = "subnet-a" }
      "6" = { availability_zone = "eu-central-1b", subnet_id = "subnet-b" }
    }
  }

  assert {
    condition     = join(",", output.seeds) == "5" && !can(yamldecode(output.settings["5"]).set["min.insync.replicas"])
    error_message = "Two seeds would need each other."
  }
}

run "bucket_of_somebody_else" {
  command = plan

  variables {
    bucket                      = { name = "shared", create = false, prefix = "teams/varve", kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/2" }
    s3_endpoint_route_table_ids = ["rtb-1"]
    iam_policy_arns             = { session-manager = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" }
  }

  assert {
    condition     = length(aws_s3_bucket.tier) + length(aws_s3_bucket_lifecycle_configuration.tier) + length(aws_s3_bucket_policy.tier) + length(aws_s3_bucket_public_access_block.tier) == 0 && output.bucket == "shared"
    error_message = "A bucket that is there is not touched."
  }
  assert {
    condition     = [for s in data.aws_iam_policy_document.broker["1"].statement : s.resources if contains(["Objects", "ObjectKey"], s.sid)] == [toset(["arn:aws:s3:::shared/teams/varve/*"]), toset(["arn:aws:kms:eu-central-1:111122223333:key/2"])]
    error_message = "A broker has rights to the prefix and to the key of the bucket."
  }
  assert {
    condition     = aws_vpc_endpoint.s3[0].service_name == "com.amazonaws.eu-central-1.s3" && aws_vpc_endpoint.s3[0].route_table_ids == toset(["rtb-1"])
    error_message = "The endpoint is for the route tables that are given."
  }
  assert {
    condition     = length(aws_iam_role_policy_attachment.more) == 3
    error_message = "More policies go to each role."
  }
}
